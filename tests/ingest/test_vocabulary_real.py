"""Real vocabularies of every kind that we read, against the decoders of the libraries that made them."""

from __future__ import annotations

import base64
import hashlib
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.errors import UsageError, WeightsError
from featdex.ingest.inputs import Vocabulary
from featdex.ingest.vocabulary import (
    is_byte_level,
    read_tiktoken_ranks,
    vocabulary_from_ranks,
    vocabulary_from_raw,
    vocabulary_from_tiktoken,
)
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer, decoders, models

DATA = Path(__file__).parents[1] / "data"
SHA256 = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "tokenizer.model.v1": "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
}
# The special tokens of cl100k_base, as tiktoken defines them: ids 100256 and 100261 to 100275 are unused.
CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


def unpacked(name: str) -> bytes:
    return lzma.decompress((DATA / name).read_bytes())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def cl100k_ranks() -> dict[bytes, int]:
    return {
        bytes.fromhex(line): rank for rank, line in enumerate(unpacked("cl100k_ranks.txt.xz").decode().splitlines())
    }


@pytest.fixture(scope="module")
def cl100k(cl100k_ranks: dict[bytes, int]) -> Vocabulary:
    return vocabulary_from_ranks(cl100k_ranks, CL100K_SPECIAL)


@pytest.fixture(scope="module")
def mistral_processor() -> Any:
    return SentencePieceProcessor(model_proto=unpacked("mistral_v1.model.xz"))


@pytest.fixture(scope="module")
def mistral(mistral_processor: Any) -> Vocabulary:
    ids = range(mistral_processor.get_piece_size())
    special_ids = [i for i in ids if mistral_processor.is_control(i) or mistral_processor.is_unknown(i)]
    return vocabulary_from_raw([mistral_processor.id_to_piece(i) for i in ids], "sentencepiece", special_ids)


@pytest.fixture(scope="module")
def bert_tokens() -> list[str]:
    return unpacked("bert_base_uncased_vocab.txt.xz").decode().splitlines()


@pytest.fixture(scope="module")
def bert(bert_tokens: list[str]) -> Vocabulary:
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    return vocabulary_from_raw(bert_tokens, "wordpiece", [bert_tokens.index(token) for token in special])


def test_the_data_are_the_published_files(
    gpt2_data: dict[str, Any], gpt2_merges: list[tuple[str, str]], cl100k_ranks: dict[bytes, int]
) -> None:
    encoder = json.dumps({token: token_id for token_id, token in enumerate(gpt2_data["tokens"])})
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in gpt2_merges)
    ranks = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in cl100k_ranks.items())
    assert {
        "encoder.json": sha256(encoder.encode()),
        "vocab.bpe": sha256(merges.encode()),
        "cl100k_base.tiktoken": sha256(ranks.encode()),
        "vocab.txt": sha256(unpacked("bert_base_uncased_vocab.txt.xz")),
        "tokenizer.model.v1": sha256(unpacked("mistral_v1.model.xz")),
    } == SHA256


def decoded_by_library(tokens: list[str], merges: list[tuple[str, str]]) -> tuple[str, ...]:
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.decoder = decoders.ByteLevel()
    return tuple(tokenizer.decode_batch([[i] for i in range(len(tokens))], skip_special_tokens=False))


def test_gpt2_reads_as_the_library_decodes_it(gpt2: Vocabulary, gpt2_merges: list[tuple[str, str]]) -> None:
    assert gpt2.text == decoded_by_library(list(gpt2.raw), gpt2_merges)
    assert len(gpt2) == 50_257
    assert sum(text[:1] == " " for text in gpt2.text) == 33_135  # the published starts_with_space
    assert gpt2.is_special.nonzero()[0].tolist() == [50_256]


def test_smollm2_reads_as_the_library_decodes_it(smollm2: Vocabulary, smollm2_data: dict[str, list[Any]]) -> None:
    merges = [tuple(merge.split(" ")) for merge in smollm2_data["merges"]]
    assert smollm2.text == decoded_by_library(smollm2_data["tokens"], merges)
    assert int(smollm2.is_special.sum()) == 17


def test_cl100k_reads_as_its_bytes(cl100k: Vocabulary, cl100k_ranks: dict[bytes, int]) -> None:
    assert len(cl100k) == 100_277
    partial = []
    for token, rank in cl100k_ranks.items():
        assert cl100k.text[rank] == token.decode("utf-8", errors="replace")
        try:
            token.decode("utf-8", errors="strict")
        except UnicodeDecodeError:
            partial.append(rank)
    assert cl100k.is_partial_utf8.nonzero()[0].tolist() == partial
    assert {cl100k.text[i]: i for i in cl100k.is_special.nonzero()[0].tolist()} == CL100K_SPECIAL
    assert {cl100k.text[i] for i in (100_256, *range(100_261, 100_276))} == {""}


def test_the_ranks_of_gpt2_give_its_byte_level_vocabulary(gpt2: Vocabulary, gpt2_data: dict[str, Any]) -> None:
    # GPT-2's characters for bytes as `bytes_to_unicode` made them: its first 256 tokens, the printable bytes first.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    in_order = printable + [byte for byte in range(256) if byte not in printable]
    byte_of = dict(zip(gpt2_data["tokens"], in_order, strict=False))
    ranks = {bytes(byte_of[char] for char in token): i for i, token in enumerate(gpt2_data["tokens"][:-1])}
    found = vocabulary_from_ranks(ranks, {"<|endoftext|>": 50_256})
    assert (found.raw, found.text) == (gpt2.raw, gpt2.text)
    assert found.sha256 == gpt2.sha256
    assert found.is_partial_utf8.tolist() == gpt2.is_partial_utf8.tolist()


def test_mistral_reads_as_sentencepiece_decodes_it_inside_a_text(mistral: Vocabulary, mistral_processor: Any) -> None:
    before = mistral_processor.piece_to_id("a")
    bytes_above_ascii = {i for i in range(len(mistral)) if mistral_processor.is_byte(i) and mistral.is_partial_utf8[i]}
    ordinary = [i for i in range(len(mistral)) if not mistral.is_special[i]]
    decoded = mistral_processor.decode([[before, i] for i in ordinary])
    assert [mistral.text[i] for i in ordinary] == [text[1:] for text in decoded]
    assert len(bytes_above_ascii) == 128
    assert bytes_above_ascii == set(mistral.is_partial_utf8.nonzero()[0].tolist())
    assert {mistral.text[i] for i in bytes_above_ascii} == {"\ufffd"}
    assert [mistral.text[i] for i in mistral.is_special.nonzero()[0]] == ["<unk>", "<s>", "</s>"]


def test_mistrals_tokens_of_a_text_join_to_it(mistral: Vocabulary, mistral_processor: Any) -> None:
    text = "The girl and the café:\n\treturn x  + 1"
    assert "".join(mistral.text[i] for i in mistral_processor.encode(text)) == f" {text}"


def test_bert_reads_as_the_library_decodes_it_inside_a_text(bert: Vocabulary, bert_tokens: list[str]) -> None:
    model = models.WordPiece({token: i for i, token in enumerate(bert_tokens)}, unk_token="[UNK]")
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    is_word = [token[:1].isalnum() or (token.startswith("##") and len(token) > 2) for token in bert_tokens]
    words = [i for i, word in enumerate(is_word) if word]
    the = bert_tokens.index("the")
    decoded = tokenizer.decode_batch([[the, i] for i in words], skip_special_tokens=False)
    assert [bert.text[i] for i in words] == [text.removeprefix("the") for text in decoded]
    assert len(words) > 29_000
    # Punctuation and [special] tokens carry no space, which the decoder would put before each.
    others = [i for i, word in enumerate(is_word) if not word]
    assert [bert.text[i] for i in others] == [bert_tokens[i] for i in others]


def test_only_byte_level_vocabularies_are_taken_for_it(
    gpt2: Vocabulary, smollm2: Vocabulary, cl100k: Vocabulary, mistral: Vocabulary, bert: Vocabulary
) -> None:
    assert [is_byte_level(found) for found in (gpt2, smollm2, cl100k, mistral, bert)] == [True] * 3 + [False] * 2


def test_a_tiktoken_encoding_is_read_through_its_public_methods(
    cl100k: Vocabulary, cl100k_ranks: dict[bytes, int]
) -> None:
    tiktoken = pytest.importorskip("tiktoken", reason="needs the PyPI package tiktoken")
    encoding = tiktoken.Encoding(
        "cl100k_base", pat_str=r"\S+|\s+", mergeable_ranks=cl100k_ranks, special_tokens=CL100K_SPECIAL
    )
    found = vocabulary_from_tiktoken(encoding)
    assert (found.raw, found.text) == (cl100k.raw, cl100k.text)
    assert found.is_special.tolist() == cl100k.is_special.tolist()
    text = "Girls and boys sang in the naïve café."
    assert "".join(found.text[i] for i in encoding.encode(text)) == text


class Encoding:
    """What `vocabulary_from_tiktoken` asks of a `tiktoken.Encoding`; id 2 is unused."""

    n_vocab = 5
    special_tokens_set = frozenset({"<|end|>"})

    def encode_single_token(self, token: str) -> int:
        return {"<|end|>": 4}[token]

    def decode_single_token_bytes(self, token_id: int) -> bytes:
        return {0: b" girl", 1: b"\xc3", 3: b"\n", 4: b"<|end|>"}[token_id]


def test_an_encoding_with_a_gap_is_read() -> None:
    found = vocabulary_from_tiktoken(Encoding())
    assert found.raw == ("Ġgirl", "Ã", "", "Ċ", "<|end|>")
    assert found.text == (" girl", "\ufffd", "", "\n", "<|end|>")
    assert found.is_special.tolist() == [False] * 4 + [True]
    assert found.is_partial_utf8.tolist() == [False, True, False, False, False]


def test_a_tiktoken_file_gives_its_ranks(tmp_path: Path, cl100k_ranks: dict[bytes, int]) -> None:
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_text("".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in cl100k_ranks.items()))
    assert sha256(path.read_bytes()) == SHA256["cl100k_base.tiktoken"]
    assert read_tiktoken_ranks(path) == cl100k_ranks


@pytest.mark.parametrize("line", ["IQ==", "IQ== x", "I?== 1", "IQ== 1 2", " 3", "IA== 9"])
def test_a_line_that_is_no_rank_is_refused_by_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.tiktoken"
    path.write_text(f"IA== 0\n\n{line}\n")
    with pytest.raises(WeightsError, match="line 3 is no new token in base64"):
        read_tiktoken_ranks(path)


@pytest.mark.parametrize(
    ("special", "message"), [({"<|end|>": 0}, "token id 0 is that of two tokens"), ({"<|end|>": -1}, "-1 is below 0")]
)
def test_ids_that_clash_are_refused(special: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        vocabulary_from_ranks({b"a": 0}, special)
