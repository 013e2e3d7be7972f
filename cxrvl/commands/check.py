"""`cxrvl check`: is a config sound, and everything it starts from, before anything is built?"""

from collections.abc import Sequence

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, hydra_session, resolved


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
        names = " -> ".join(f"{link.config['name']} ({link.run_id}, {link.run.state()})" for link in links(config))
    before = f"what it starts from, {names}, too: " if names else ""
    print(f"the config of {config['name']} is sound, {before}{count} targets and their keywords exist")
