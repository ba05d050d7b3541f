"""Shapes of punctuation, brackets, quotes and white space."""

from __future__ import annotations

from .set_specs import BLOOM, FEATDEX, GURNEE, MARK, RegexRule, containing, marked, whole

_BRACKETS = {
    "contains_open_bracket": (r"\(", "Contains an opening round bracket."),
    "contains_close_bracket": (r"\)", "Contains a closing round bracket."),
    "contains_square_bracket": (r"[\[\]]", "Contains a square bracket."),
    "contains_curly_bracket": (r"[{}]", "Contains a curly bracket."),
    "contains_angle_bracket": (r"[<>]", "Contains a less-than or greater-than sign."),
}

_GURNEE_MARKS = {
    "contains_period": (r"\.", "Contains a full stop."),
    "contains_comma": (r",", "Contains a comma."),
    "contains_exclamation": (r"!", "Contains an exclamation mark."),
    "contains_question": (r"\?", "Contains a question mark."),
    "contains_semicolon": (r";", "Contains a semicolon."),
    "contains_colon": (r":", "Contains a colon."),
    "contains_hyphen": (r"-", "Contains the hyphen of ASCII, which is the minus sign of code."),
    "contains_slash": (r"/", "Contains a slash."),
    "contains_backslash": (r"\\", "Contains a backslash."),
    "contains_underscore": (r"_", "Contains an underscore."),
    "contains_caret": (r"\^", "Contains a caret."),
    "contains_apostrophe": (r"['’]", "Contains an apostrophe, straight or typographic."),
    "contains_double_quote": (r'"', "Contains the straight double quotation mark."),
    "contains_open_square_bracket": (r"\[", "Contains an opening square bracket."),
    "contains_close_square_bracket": (r"\]", "Contains a closing square bracket."),
    "contains_open_curly_bracket": (r"\{", "Contains an opening curly bracket."),
    "contains_close_curly_bracket": (r"\}", "Contains a closing curly bracket."),
    "contains_any_open_bracket": (r"[(\[{<]", "Contains an opening bracket of ASCII: round, square, curly or <."),
    "contains_any_close_bracket": (r"[)\]}>]", "Contains a closing bracket of ASCII: round, square, curly or >."),
    "contains_arithmetic_sign": (r"[-+*/=<>]", "Contains one of the signs + - * / = < >."),
    "contains_dollar": (r"\$", "Contains a dollar sign."),
}

_MARKS = {
    "hyphens_and_dashes": (r"[-\u2010\u2011\u2012\u2013\u2014\u2015]", "Contains a hyphen or a dash."),
    "currency": (r"[$¢£¥€₹₽₩]", "Contains a currency sign."),
    "contains_at": (r"@", "Contains the sign @."),
    "contains_hash": (r"#", "Contains the sign #."),
    "contains_percent": (r"[%‰％]", "Contains a sign for per cent or per mille."),
    "contains_ampersand": (r"&", "Contains an ampersand."),
    "contains_asterisk": (r"\*", "Contains an asterisk."),
    "contains_plus": (r"\+", "Contains a plus sign."),
    "contains_equals": (r"=", "Contains an equals sign."),
    "contains_less_than": (r"<", "Contains a less-than sign."),
    "contains_greater_than": (r">", "Contains a greater-than sign."),
    "contains_pipe": (r"\|", "Contains a vertical bar."),
    "contains_tilde": (r"~", "Contains a tilde."),
    "contains_backtick": (r"`", "Contains a backtick."),
    "long_dashes": (r"[\u2012-\u2015]", "Contains a dash longer than a hyphen."),
    "open_quotes": (r"[“‘«‹„‚]", "Contains an opening quotation mark of typography."),
    "close_quotes": (r"[”’»›]", "Contains a closing quotation mark of typography, or its apostrophe."),
    "single_curly_quotes": (r"[‘’‚‛]", "Contains a single curly quotation mark."),
    "double_curly_quotes": (r"[“”„‟]", "Contains a double curly quotation mark."),
    "guillemets": (r"[«»‹›]", "Contains an angle quotation mark."),
    "east_asian_brackets": (r"[〈-】〔-〛（）［］｛｝｢｣]", "Contains a bracket of Chinese or Japanese text."),
    "east_asian_punctuation": (r"[、-〃〜！，．：；？。・]", "Contains punctuation of Chinese or Japanese text."),
    "inverted_marks": (r"[¡¿]", "Contains a Spanish inverted mark."),
    "bullets": (r"[·•‣‧⁃∙▪▫●○■□◆◇◦]", "Contains a bullet of a list."),
    "tab": (r"\t", "Contains a tabulator."),
    "carriage_return": (r"\r", "Contains a carriage return."),
    "non_ascii_space": (r"[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]", "Contains a wide space."),
}

_QUOTES_AND_ENDS = {
    "quotes": (r""" ?["'`´“”„‘’‚«»‹›]+""", """["'`´“”„‘’‚«»‹›]""", "Quotation marks and apostrophes only."),
    "contractions": (
        r" ?[A-Za-z]*['’](?:s|t|d|m|re|ve|ll|em)",
        "['’]",
        "English contractions and the possessive 's.",
    ),
    "sentence_ends": (
        r""" ?[.!?…]+["'”’)\]]*""",
        "[.!?…]",
        "Marks that end a sentence, with closing quotes or brackets.",
    ),
    "ellipses": (r"(?s).*(?:…|\.{3}).*", r"[….]", "Contains an ellipsis or three full stops."),
    "starts_with_dot": (r" ?\.[A-Za-z_]\w*", r"\.", "A full stop, then a name: file endings, attributes, domains."),
    "open_brackets_only": (r" ?[(\[{]+", r"[(\[{]", "Opening brackets only."),
    "close_brackets_only": (r" ?[)\]}]+", r"[)\]}]", "Closing brackets only."),
    "bracket_pairs": (r"(?s).*(?:\(\)|\[\]|\{\}|<>).*", r"[(\[{<]", "Contains a bracket closed as soon as opened."),
    "mark_then_letters": (rf" ?(?:(?!['’]){MARK})+\p{{L}}+", MARK, "Punctuation other than apostrophes, then letters."),
    "letters_then_mark": (rf" ?\p{{L}}+{MARK}+", MARK, "Letters, then punctuation or symbols."),
    **{f"marks_{n}": (rf" ?{MARK}{{{n}}}", MARK, f"Punctuation or symbols only, exactly {n}.") for n in range(1, 5)},
    "spaced_marks": (rf" {MARK}+", MARK, "A space, then punctuation or symbols only."),
    "mixed_marks": (rf" ?({MARK})\1*(?!\1){MARK}+", MARK, "Punctuation or symbols only, two kinds or more."),
    "punctuation_then_newline": (rf"{MARK}+\s*\n\s*", r"\n", "Punctuation at the end of a line."),
}

_ONLY = {
    "only_commas": (",", "Commas"),
    "only_periods": (r"\.", "Full stops"),
    "only_colons_and_semicolons": ("[:;]", "Colons and semicolons"),
    "only_question_and_exclamation": ("[!?]", "Question and exclamation marks"),
    "only_hyphens_and_dashes": (r"[-\u2010-\u2015]", "Hyphens and dashes"),
    "only_slashes": (r"[/\\]", "Slashes and backslashes"),
    "only_asterisks": (r"\*", "Asterisks"),
    "only_equals": ("=", "Equals signs"),
    "only_hashes": ("#", "Signs #"),
    "only_underscores": ("_", "Underscores"),
    "only_pipes": (r"\|", "Vertical bars"),
    "only_plus_and_minus": (r"[-+−]", "Signs of plus and minus"),
    "only_angle_brackets": ("[<>]", "Less-than and greater-than signs"),
}

_SIDES = {
    "hash": ("#", "the sign #"),
    "at": ("@", "the sign @"),
    "dollar": (r"\$", "a dollar sign"),
    "underscore": ("_", "an underscore"),
    "percent": ("%", "a per cent sign"),
    "ampersand": ("&", "an ampersand"),
    "asterisk": (r"\*", "an asterisk"),
    "plus": (r"\+", "a plus sign"),
    "hyphen": ("-", "a hyphen"),
    "slash": ("/", "a slash"),
    "backslash": (r"\\", "a backslash"),
    "equals": ("=", "an equals sign"),
    "less_than": ("<", "a less-than sign"),
    "greater_than": (">", "a greater-than sign"),
    "colon": (":", "a colon"),
    "semicolon": (";", "a semicolon"),
    "comma": (",", "a comma"),
    "period": (r"\.", "a full stop"),
    "question_or_exclamation": ("[?!]", "a question or exclamation mark"),
    "open_bracket": (r"[(\[{]", "an opening bracket"),
    "close_bracket": (r"[)\]}]", "a closing bracket"),
    "quote": ("[\"'“”‘’]", "a quotation mark"),
}

_WHITESPACE = {
    "whitespace": (r"[\s\x1c-\x1f]+", r"[\s\x1c-\x1f]", "White space only."),
    "indentation": (r"[ \t]{2,}", r"[ \t]", "Two or more spaces or tabs and nothing else."),
    "spaces_only": (r" +", " ", "Spaces and nothing else."),
    "indentation_by_4": (r"(?:    )+", " ", "Spaces and nothing else, a multiple of four."),
    "tabs_only": (r"\t+", r"\t", "Tabulators and nothing else."),
    "line_ends_only": (r"[\r\n]+", r"[\r\n]", "Line feeds and carriage returns and nothing else."),
    "blank_lines": (r"\s*\n\s*\n\s*", r"\n", "White space with two line feeds or more: the end of a paragraph."),
    "newline_then_indentation": (r"[\r\n]+[ \t]+", r"[\r\n]", "Line feeds, then spaces or tabs: an indented line."),
}

MARK_RULES: tuple[RegexRule, ...] = (
    *containing(dict(list(_BRACKETS.items())[:2]), BLOOM),
    *containing(dict(list(_BRACKETS.items())[2:])),
    *containing(_GURNEE_MARKS, GURNEE),
    *containing(_MARKS),
    *marked(_QUOTES_AND_ENDS),
    *marked({name: (f" ?{char}+", char, f"{names} only.") for name, (char, names) in _ONLY.items()}),
    *marked(
        {
            f"starts_with_{name}": (f"(?s) ?{char}.*", char, f"Starts with {said}, a leading space aside.")
            for name, (char, said) in _SIDES.items()
        }
    ),
    *marked(
        {
            f"ends_with_{name}": (f"(?s).*{char}", char, f"Ends with {said}.")
            for name, (char, said) in _SIDES.items()
            if name != "ampersand"
        }
    ),
    *whole(
        {
            "repeated_characters": (
                r"(?s) ?(.)\1{2,}",
                "One character three times or more: rules, indents, ellipses.",
            )
        },
        FEATDEX,
    ),
    *containing({"newline": (r"\n", "Contains a line feed.")}),
    *marked(_WHITESPACE),
)
