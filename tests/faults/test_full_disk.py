"""A disk that fills, at moments that its size draws: one line, and everything that was whole before is whole after."""

import subprocess

from faults.campaign import ENDLESS, carry_out, drawn, figures, is_one_line, look_at, runs, start_study, status, tries


@tries("a full disk in training", 12)
def test_in_training(mounted, seed):
    draw = drawn("disk", seed)
    folder = mounted(f"size={draw.randint(40, 400) * 4096}")
    results = folder / "results"
    words = [*ENDLESS, "save_replay_buffer=true", f"save_model_interval={draw.choice([48, 1000])}"]
    code, err = carry_out(*words, results=results)
    assert code == 1
    assert is_one_line(err)
    # the line says so where not even the record's last word had room
    assert status(runs(results)[0]) == "FAILED" or "record" in err
    look_at(results)


@tries("a full disk in a study, and room again", 5)
def test_in_a_study(mounted, undisturbed, seed):
    folder = mounted(f"size={drawn('disk of a study', seed).randint(20, 400) * 4096}")
    results = folder / "results"
    with start_study(results=results) as program:
        code, err = program.finish()
    assert code == 1
    assert "Traceback" not in err
    look_at(results)
    subprocess.run(["mount", "-o", "remount,size=256m", str(folder)], check=True)
    with start_study(results=results) as program:
        assert program.finish() == (0, "")
    assert figures(results) == figures(undisturbed)
