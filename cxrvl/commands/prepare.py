"""`cxrvl prepare`: decode a config's images once."""

from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved


def prepare_store(overrides: Sequence[str]) -> None:
    """Make the image store a config trains from, and say where it lies.

    Raises:
        DataError: images that cannot be read, reports without text, or the same pair of both in two splits.
    """
    from cxrvl.runs.identity import study_table
    from cxrvl.runs.trainer import build_images

    config = resolved(compose_config(overrides))
    check(config)
    data = build_images(config)
    data.use_table(study_table(config))
    if not data.max_unreadable:  # which images can be read decides the table
        data.check_before_decoding()
    folder = data.store.folder
    if data.max_unreadable:
        data.check_before_decoding()
    data.check_decoded()
    table = data.table
    print(f"{len(table)} images of {table.frame['patient'].nunique()} patients, split {table.split_name}")
    for note in table.notes:
        print(f"note: {note}")
    print(f"store: {folder}")
