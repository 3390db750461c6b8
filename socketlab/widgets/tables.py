"""Tables in a notebook's widgets: one look, in a field that the keyboard can reach and scroll."""

import html

import pandas as pd

from socketlab.figures.style import INK

# Jupyter's own sheet does not set the cells of a bare table apart, or far too much.
_STYLE = (
    f"<style>.socketlab-table {{color: {INK}; background: white; font-size: 12px; overflow: auto}}"
    " .socketlab-table :is(th, td) {padding: 0 10px 0 0; line-height: 1.5}</style>"
)


def table_html(
    table: pd.DataFrame,
    label: str,
    *,
    index: bool = True,
    number: str = "{:.3f}",
    height: str = "18em",
    below: str = "",
) -> str:
    """A table as a page, headings to the left, missing values blank.

    Args:
        table: what is listed.
        label: what it is, for those who hear the page.
        index: whether the rows' names are shown.
        number: how a float is written.
        height: at most so high; the rest is scrolled to.
        below: a sentence under the rows.
    """
    rows = table.to_html(
        index=index,
        border=0,
        float_format=number.format,
        na_rep="",
        justify="left",
        index_names=table.columns.name is not None,
    )
    rest = f"<p>{html.escape(below)}</p>" if below else ""
    return (
        f'{_STYLE}<div class="socketlab-table" tabindex="0" role="region" '
        f'aria-label="{html.escape(label)}" style="max-height: {height}">{rows}{rest}</div>'
    )
