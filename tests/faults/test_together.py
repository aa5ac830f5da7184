"""Several programs on one folder of results: each keeps its own record, and no work is done twice."""

import json

from conftest import tiny_overrides
from test_cli import Program

from faults.campaign import TASK, drawn, figures, look_at, newest, recorded, runs, start_study, status, tries


@tries("two runs at once in one folder", 4)
def test_two_runs(results, seed):
    seeds = drawn("together", seed).sample(range(1000), 2)
    words = [*TASK, *tiny_overrides(t_max=60)]
    with Program(*words, f"seed={seeds[0]}", results=results) as one:
        with Program(*words, f"seed={seeds[1]}", results=results) as other:
            assert other.finish() == (0, "")
        assert one.finish() == (0, "")
    look_at(results)
    assert [run.name for run in runs(results)] == ["1", "2"]
    assert {recorded(run, "config")["seed"] for run in runs(results)} == set(seeds)
    for run in runs(results):
        assert status(run) == "COMPLETED"
        own = f"seed={recorded(run, 'config')['seed']}"
        assert own in recorded(run, "info")["arguments"]
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        names = [(line["name"], line["step"]) for line in lines]
        assert len(names) == len(set(names))  # nobody else's among them
        assert (results / "models" / run.name).is_dir()


@tries("two studies at once in one folder", 3)
def test_two_studies(results, undisturbed, seed):
    with start_study(results=results) as one:
        for _ in range(drawn("studies", seed).randint(0, 4)):
            one.wait_for("")
        with start_study(results=results) as other:
            codes = {other.finish()[0], one.finish()[0]}
    assert 0 in codes  # the last to finish has everything
    assert codes <= {0, 1}
    look_at(results)
    with start_study(results=results) as last:
        assert last.finish() == (0, "")
    assert figures(results) == figures(undisturbed)
    for k in (0, 1):
        place = results / "sc2_3m" / "aqmix" / f"seed{k}"
        assert [run.name for run in runs(place)] == ["1"]
        assert newest(place)[0].name == "1"
