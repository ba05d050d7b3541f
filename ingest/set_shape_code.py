"""Shapes of code, markup and addresses: operators, comments, tags, entities, commands, paths."""

from __future__ import annotations

from .set_specs import GURNEE, RegexRule, marked, whole

_IDENTIFIERS = {
    "snake_case": (r" ?\w*[^\W_]_[^\W_]\w*", "_", "Word characters with an underscore between two of them."),
    "starts_with_underscore_name": (r" ?_+[A-Za-z]\w*", "_", "Underscores, then a name."),
    "calls": (r" ?[\w.]*\(\)[;:,.)]*", r"\(", "A call without arguments, or its end: (), get(), ();."),
}

_OPERATORS = {
    "code_operators": (
        r" ?(?:[-+*/%&|^!=<>]=|===|!==|<=>|&&|\|\||\+\+|--|<<|>>|->|=>|<-|:=|::|\*\*|//|\?\?|\?\.|\|>)",
        r"[-=&|+<>:*/?]",
        "Operators of two or three characters from programming languages.",
    ),
    "operators_assignment": (
        r" ?(?::?=|[-+*/%&|^@.~]=|(?:<<|>>>?|\*\*|//|&&|\|\||\?\?)=)",
        "=",
        "Operators that assign: =, +=, :=.",
    ),
    "operators_comparison": (
        r" ?(?:[=!<>]=|[=!]==|<=>|<>|[<>]|=~|!~|[≠≤≥≈≡])",
        r"[=<>~≠≤≥≈≡]",
        "Operators that compare: ==, <, !=.",
    ),
    "operators_arithmetic": (
        r" ?(?:[-+*/%^−×÷·]|\*\*|//|\+\+|--|\.\*|\./)",
        r"[-+*/%^−×÷·]",
        "Operators that compute: +, *, **.",
    ),
    "operators_logical": (r" ?(?:&&?|\|\|?|!!?|~|\^|<<|>>>?|[¬∧∨⊕])", r"[&|!~^<>¬∧∨⊕]", "Operators on truth and bits."),
    "operators_arrows": (
        r" ?(?:<?[-=~]{1,3}>{1,2}|<{1,2}[-~]{1,3}|<={2,3}|\|->?|>->|[←-⇿⟵-⟿])",
        r"[-=<>|←-⇿⟵-⟿]",
        "Arrows alone: ->, =>, <--, →.",
    ),
    "operators_access": (
        r" ?(?:\.{1,3}|->|::|\?\.|\?->|&\.|\.\()",
        r"[.>:]",
        "Operators that reach for members and ranges: ->, ::, ?. and others.",
    ),
    "format_specifiers": (
        r""" ?["']?(?:%[-+0-9.]*[sdifgxXuc]|\{\d*\}|\$\{|\{\{|\}\}|#\{|<%=?|%>|\{%|%\})""",
        "[%{}#$]",
        "Places for values in texts: %s, {0}, ${, {{.",
    ),
    "escape_sequences": (
        r""" ?(?:\\(?:[abefnrtv0'"\\/?]|x[0-9A-Fa-f]{0,2}|u[0-9A-Fa-f]{0,4}))+""",
        r"\\",
        r"Escape sequences and nothing else: \n, \\, \x1b.",
    ),
}

_COMMENTS = {
    "code_comments": (
        r" ?(?://+|/\*+|\*+/|#+|<!--|-->|\"{3}|'{3})",
        "[/*#<>\"']",
        "Marks that open or close a comment in code.",
    ),
    "line_comments": (
        r" ?(?://+[!/]?|#+!?|--|;{2,}|%{2,})",
        "[/#;%-]",
        "Marks of a comment up to the end of its line.",
    ),
    "block_comments": (
        r""" ?(?:/\*+!?|\*+/|<!--+|--+>|\{-|-\}|\(\*|\*\)|"{3}|'{3}|=begin|=end)""",
        "[/*!>{})\"'=]",
        "Marks around a comment of several lines.",
    ),
}

_MARKUP = {
    "html_tags": (
        r"""\s*(?:</?[A-Za-z][\w:-]*\s*/?>?|["'/)}\]]*></?[A-Za-z]*>?|</|["']?/>)\s*""",
        "[<>]",
        "Tags of HTML and XML and the joints between them: <div, </, ><.",
    ),
    "html_entities": (r" ?&(?:[A-Za-z]+[0-9]*|#x?[0-9A-Fa-f]*);?", "&", "Entities of HTML: &amp, &nbsp;, &#39."),
    "latex_commands": (r" ?\\[A-Za-z]{2,}\*?[{\[(]?", r"\\", r"A backslash and a name of two letters or more: \frac."),
    "latex_marks": (
        r"(?s).*(?:\$\$|\\[()\[\]{}|,;!]|[\^_]\{|\}\$|\$\\|\}\{|\}\\|\{\\).*",
        r"[$\\{}]",
        r"Contains marks of LaTeX: $$, \(, ^{, }{.",
    ),
    "markdown_marks": (
        r" ?(?:#{1,6}|\*{1,3}|_{2,3}|`{1,3}|~{2,3}|>{1,3}|!\[|\]\(|\[\^|={3,}|-{3,}|\|?:?-+:?\|)",
        r"[#*_`~>\[\]=|-]",
        "Marks of Markdown: headings, emphasis, code, links, rules.",
    ),
}

_ADDRESSES = {
    "url_schemes": (
        r"(?i) ?(?:(?:https?|ftps?|sftp|file|wss?|ssh|git|mailto|tel|data|javascript)(?::/{0,3})|https?|ftp|://)",
        "Schemes of web addresses: http, https://, ://.",
    ),
    "email_pieces": (
        r"(?i) ?(?:[\w.+-]*@[\w.-]*|mailto:?|[eg]-?mails?|hotmail|e-?mailed)",
        "Pieces of e-mail addresses, and words for e-mail.",
    ),
    "file_extensions": (
        r"\.?(?:txt|pdf|docx?|xlsx?|pptx?|csv|tsv|json|xml|yaml|yml|toml|ini|cfg|conf|log|md|rst|tex|html?|xhtml|css|scss|"
        r"jsx?|tsx?|mjs|php|asp|aspx|jsp|py|ipynb|java|cpp|hpp|cc|cs|go|rs|rb|sh|bat|exe|dll|sql|jpe?g|png|gif|bmp|svg|"
        r"ico|mp3|mp4|wav|avi|mov|mkv|zip|gz|tar|rar|7z|jar|iso|bak|tmp)",
        "Endings of file names with or without their full stop, and no space before it.",
    ),
}

_WEBSITE_ENDINGS = {
    "website_endings": (
        r"\.?(?:com|net|org|edu|gov|mil|int|io|co|uk|ca|ai)",
        "Common endings of host names, without a space before them.",
    ),
}

_PATHS = {
    "urls": (
        r"(?is).*(?:://|https?|www|\.(?:com|org|net|edu|gov|html?|php|io)\b).*",
        "[/pPwW.]",
        "Pieces of web addresses: schemes, www, common domain endings.",
    ),
    "file_paths": (
        r" ?(?:(?:~|\.{1,2}|[A-Za-z]:)(?:/|\\{1,2})+|(?:~|\.{1,2}|[A-Za-z]:|\w[\w.-]*)?(?:/[\w.-]+)+/?|\w+/)",
        r"[/\\]",
        "Names joined by slashes, and starts of paths: ../, ~/, src/.",
    ),
}

CODE_RULES: tuple[RegexRule, ...] = (
    *marked(_IDENTIFIERS),
    *marked(_OPERATORS),
    *marked(_COMMENTS),
    *marked(_MARKUP),
    *whole(_ADDRESSES),
    *whole(_WEBSITE_ENDINGS, GURNEE),
    *marked(_PATHS),
)
