"""What the text of a notebook says in a way that JupyterLab understands, too, made into what Sphinx understands.

- the role ``eval`` shows a value that a cell has glued, ``{eval}`glued.gain` ``; one without a value is a warning;
- a link to a work of the bibliography, ``[Steck, 2019](#steck2019ease)``, leads to its entry;
- a link to a term of the glossary or to a label of another file, ``[term](../book/glossary.md#term-item)``, leads
  there;
- the front matter of a chapter, which numbers its equations in JupyterLab, is left out: Sphinx numbers by itself;
- the notebook that a page offers for download is its portable copy, with the numbers of this build filled in.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from myst_nb.ext.glue.roles import PasteTextRole
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from book.tools import inline, portable, references

LOGGER = logging.getLogger(__name__)


class Eval(PasteTextRole):
    """``{eval}`glued.name` ``: the value that a cell of the notebook has assigned to the name."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Look the name up among the outputs of the notebook's cells."""
        name = inline.glued_name(self.text)
        if name is None:
            LOGGER.warning("%r is no glued value: write glued.name", self.text, location=(self.source, self.line))
            return [nodes.literal(text=self.text)], []
        self.text = name
        return super().run()


class Links(SphinxPostTransform):
    """Resolve links that MyST leaves alone, before it complains about them."""

    default_priority = 5  # MyST's own comes at 9

    def run(self, **kwargs: Any) -> None:
        """Replace the links that lead to works, terms and labels of other files."""
        works = {one.key: one for one in self.env.get_domain("cite").citations}
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") != "myst":
                continue
            if node["refdomain"] == "doc":
                docname, anchor = node["reftarget"], self.anchor(node["reftarget"], node["reftargetid"])
            elif work := works.get(node["reftarget"]):
                docname, anchor = work.bibliography_key.docname, work.citation_id
            else:
                continue
            if anchor:
                words = nodes.inline("", "", *node[0].children)
                node.replace_self(make_refnode(self.app.builder, node["refdoc"], docname, anchor, words))

    def anchor(self, docname: str, target: str | None) -> str | None:
        """Return the id of a term or a label on a page, None if it has neither."""
        domain = self.env.get_domain("std")
        for (kind, name), (where, anchor) in domain.objects.items():
            if where == docname and kind == "term" and references.term_id(name) == target:
                return anchor
        where, anchor = domain.anonlabels.get(target or "", ("", ""))
        return anchor if where == docname else None


def leave_out_front_matter(app: Sphinx, name: str, source: list[str]) -> None:
    """Take the front matter out of the first cell of a notebook, before it is read."""
    if Path(app.env.doc2path(name)).suffix == ".ipynb":
        notebook = json.loads(source[0])
        first = notebook["cells"][0]
        first["source"] = inline.without_front_matter("".join(first["source"]))
        source[0] = json.dumps(notebook, ensure_ascii=False)


def write_copies(app: Sphinx, error: Exception | None) -> None:
    """Put a portable copy in the place of every notebook that can be downloaded."""
    if error is not None or not isinstance(app.builder, StandaloneHTMLBuilder):
        return
    known = references.known(Path(app.srcdir))
    executed = Path(app.outdir).parent / "jupyter_execute"
    for copy in sorted((Path(app.outdir) / "_sources" / "notebooks").glob("*.ipynb")):
        source = Path(app.srcdir) / "notebooks" / copy.name
        portable.write(source, executed / "notebooks" / copy.name, copy, known)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.setup_extension("myst_nb")  # it has a role `eval` of its own
    app.add_role("eval", Eval(), override=True)
    app.add_post_transform(Links)
    app.connect("source-read", leave_out_front_matter)
    app.connect("build-finished", write_copies, priority=910)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
