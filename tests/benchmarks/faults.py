"""How many kills at random moments does a sweep survive? A campaign of several minutes, run by hand or by `make bench`.

    python tests/benchmarks/faults.py [--kills 20] [--jobs 12] [--slots 2] [--launchers 1] [--seed 1] [--ranks] [--folder FOLDER]

Rounds of the same sweep, each in a folder of its own, are disturbed until there were enough kills; after each round
every run must have been trained once, and all results must be bit for bit those of an undisturbed sweep.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sweeps"))
from disturbing import RANKS, Disturber, Sweep, assert_once, assert_same, results


def main(argv=None):
    """Run the campaign and print what was survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--launchers", type=int, default=1, help="how many ask for the sweep side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds to the next kill, at most")
    parser.add_argument("--ranks", action="store_true", help="two ranks per job, which are killed too")
    parser.add_argument("--folder", type=Path, help="default: a temporary one")
    options = parser.parse_args(argv)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cxrvl-faults-"))
    jobs = [f"seed={','.join(map(str, range(options.jobs)))}", "trainer.max_epochs=4"]
    jobs += RANKS if options.ranks else ()
    experiment = "phantom/none" if options.ranks else "phantom/acm"
    kinds = ("launcher", "main", "guard", *(["rank", "rank"] if options.ranks else []))
    start = time.monotonic()
    undisturbed = Sweep(folder / "undisturbed", *jobs, slots=options.slots, experiment=experiment)
    assert undisturbed.finish() == 1
    expected = results(undisturbed.runs)
    print(f"undisturbed: {len(expected)} runs in {time.monotonic() - start:.0f} s", flush=True)
    killed = Counter()
    round_number = 0
    while killed.total() < options.kills:
        round_number += 1
        start = time.monotonic()
        sweep = Sweep(folder / f"round-{round_number}", *jobs, slots=options.slots, experiment=experiment)
        disturber = Disturber(sweep, options.seed + round_number, kinds, options.longest)
        thread = sweep.watch()
        disturber.run(options.kills - killed.total(), options.launchers, patience=7200)
        sweep.wait_until_alone()
        sweep.watching.set()
        thread.join()
        killed.update(disturber.counts())
        for kind, phase in disturber.record:
            print(f"  killed {kind} with {phase}")
        found = results(sweep.runs)
        assert_same(found, expected)
        assert_once(sweep)
        print(f"round {round_number}: {dict(disturber.counts())} in {time.monotonic() - start:.0f} s, asked {sweep.starts} "
              f"times; {len(sweep.done_files)} result files, each written once",
              flush=True)  # fmt: skip
    print(f"survived {killed.total()} kills {dict(killed)}: every run trained once, all results bit-identical")


if __name__ == "__main__":
    main()
