"""A hook of MkDocs: blocks of TeX (```math) become MathML, which browsers draw without a script."""

import re

from latex2mathml.converter import convert

_BLOCK = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown, **_):
    return _BLOCK.sub(lambda block: f'<div class="formula">{_mathml(block[1])}</div>', markdown)


def _mathml(tex):
    return convert(" ".join(tex.split()), display="block")
