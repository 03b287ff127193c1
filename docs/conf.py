"""Sphinx settings: `make docs` builds the site from docs/*.md and from the docstrings."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

from aelyst_async.version import __version__

project = "aelyst-async"
author = "The aelyst-async maintainers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"aelyst-async {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["llms.txt"]
html_theme_options: dict[str, list[str]] = {"top_of_page_buttons": []}
html_show_sourcelink = False
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

default_role = "py:obj"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"


ROOT = Path(__file__).resolve().parents[1]
ANY_KIND = ("attribute", "class", "data", "exception", "function", "method", "module", "property", "type")
PACKAGES = (ROOT / "aelyst_async", ROOT / "providers" / "aelyst_providers")


def names_in_source() -> frozenset[str]:
    """Return every word of the library's source: what a docstring may name although the reference has no entry."""
    files = (file for package in PACKAGES for file in package.rglob("*.py"))
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text("utf-8")))


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.Element | None:
    """Link a short name of a docstring (`Quota`) to its entry, however deep its module is.

    Parameters, private names and other libraries' classes have no entry here and stay plain text. The build needs no
    network, so there is no intersphinx. A name that occurs nowhere in the source is reported by Sphinx and ends
    `make docs`.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].lstrip(".~")
    objects = env.domains.python_domain.objects
    last = target if not target.startswith(("aelyst_async.", "aelyst_providers.")) else target.rpartition(".")[2]
    # A single word in lower case is a parameter more often than somebody's attribute.
    kinds = {"function", "module"} if re.fullmatch(r"[a-z_]+", last) else set(ANY_KIND)
    matches = (name for name, entry in objects.items() if f".{name}".endswith(f".{last}") and entry.objtype in kinds)
    found = min(matches, key=len, default=None)
    if found is not None:
        entry = objects[found]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, found)
    words = re.findall(r"\w+", target)
    foreign = node["reftype"] == "class" and not target.startswith("aelyst_")
    if foreign or all(word in app.config.source_names or hasattr(builtins, word) for word in words):
        return content
    return None


def simplify_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """Leave out the constructor's arguments of a protocol, which nobody calls."""
    return ("", None) if what == "class" and signature == "(*args, **kwargs)" else None


def skip_tuple_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of a named tuple, whose docstrings are Python's own; the signature has them."""
    return True if str(obj.__doc__).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    """Register the hooks."""
    app.add_config_value("source_names", names_in_source(), "", frozenset)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("autodoc-process-signature", simplify_signature)
