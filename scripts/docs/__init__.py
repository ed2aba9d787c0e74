"""Pages of the documentation that are written from the code: one per method, aggregation and metric, and all errors.

`docs/conf.py` calls `write` before Sphinx reads its sources, so a page cannot say anything else than the code does.
"""

from pathlib import Path

from scripts.docs.errors import errors_page
from scripts.docs.gallery import gallery_page, write_gallery
from scripts.docs.plugins import aggregation_pages, method_pages, metric_pages


def write(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write all pages and their pictures; only files that change are touched, so that Sphinx reads only these again.

    Args:
        folder: Where to, such as ``docs/generated``.
        pictures: Whether to draw them; else empty ones stand in their places, where there are none yet.
    """
    pages: dict[str, bytes] = {"errors.md": errors_page().encode(), "gallery.md": gallery_page().encode()}
    for part in (method_pages(pictures), aggregation_pages(pictures), metric_pages()):
        pages |= part
    if pictures:
        write_gallery(folder / "site" / "gallery")
    for name, data in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not data and path.exists():
            continue
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    return [folder / name for name in pages]
