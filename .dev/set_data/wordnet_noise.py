"""Words that the `wordnet` collection leaves out by hand, read through on the vocabulary of GPT-2.

In the vocabulary of a language model they are nearly always something else than what WordNet knows them for.
"""

import re

FUNCTION_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        """
        about above across after against all along although among and another any anybody anyone anything are
        around because been before behind being below beneath beside between beyond both but can cannot could
        did does doing done down during each either else even ever every everybody everyone everything few for
        from had has have having her here hers herself him himself his how however into its itself just less
        many may might mine more most much must myself neither never nobody none nor not nothing now off once
        one only onto other others ought our ours ourselves out over own per rather same shall she should
        since some somebody someone something such than that the their theirs them themselves then there these
        they this those though through thus too toward towards under unless until upon very via was well were
        what whatever when where whether which while who whom whose why will with within without would yes yet
        you your yours yourself yourselves
        """,
    )
)
"""Function words, left out in lower case. WordNet has none: it knows "can" as a tin, "who" as a health organisation."""

SHORT_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        """
        adz ail ale alp asp auk awl boa bra bun bye cad chi cob cod cog cot cub cue den doc dud duo eel elf
        elk emu eon fad fax fib fir gel gin gnu goo hag ire jut keg kin lei loo lye mom mug nap nil nub oaf
        oar ode ohm pal pep phi pod pox pub pug pup ref rho rum rye sac ski soy spa sty tab tad tau tic tot
        tux van vet wok wow yak yam yaw yea yew yin yip zap zig zag zit hew irk opt coy cpu cdc dna rna dvd
        hiv cia fbi ceo url faq suv gps lcd pvc tnt lsd mri gdp
        """,
    )
)
"""Words of three letters kept although WordNet never saw them in tagged text.

The rest of those are mostly abbreviations, foreign units and pieces of longer words.
"""

NOISE = frozenset(
    re.findall(
        "[a-z]+",
        """
        appro trad soph cran crus cere cert comp conn diss inst prim prox quin sens sere sett trig resid posit
        pseud quint scrim seism trave metic nihil beaut ruction ology moil herm heller mongo coco cornel mei
        corker huck illation drib calif spiegel mam mus sus dis hus ops bos ler bai cam gur tho tyr sur res
        hua ful pus
        """,
    )
)
"""Pieces of longer words, and abbreviations and foreign words that look like them."""
