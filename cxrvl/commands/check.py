"""`cxrvl check`: is a config sound, and everything it starts from, before anything is built?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, hydra_session, resolved

if TYPE_CHECKING:
    from cxrvl.runs.upstream import Link


def check_config(overrides: Sequence[str]) -> None:
    """Compose and verify a config with the runs it starts from, and say how much was verified."""
    with hydra_session():
        config = resolved(compose_config(overrides))
        count = check(config)
        if config["init_from"] is None:
            print(f"the config of {config['name']} is sound: {count} targets and their keywords exist")
            return
        from cxrvl.runs.making import check_chain
        from cxrvl.runs.upstream import links

        count += check_chain(config)
        found = links(config)
        names = (" -> " if _is_line(found) else ", ").join(
            f"{link.config['name']} ({link.run_id}, {link.run.state()})" for link in found
        )
    before = f"what it starts from, {names}, too: " if names else ""
    print(f"the config of {config['name']} is sound, {before}{count} targets and their keywords exist")


def _is_line(links: "Sequence[Link]") -> bool:
    """Return whether each link starts from the one in front of it and no other run."""
    before = [[one.run_id for one in link.before if one is not None] for link in links]
    return before == [[], *([link.run_id] for link in links[:-1])][: len(links)]
