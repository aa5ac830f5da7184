"""A study that takes seconds: two methods and a scripted team, on a task that needs nothing."""

from dataclasses import replace

from studies.declaration import (
    Bars,
    Cell,
    Column,
    Curves,
    LearningCurves,
    LearningLine,
    LearningPanel,
    Point,
    Row,
    Study,
)

TASK = "sc2_3m"
SHORT = {"env_args.episode_limit": 8}
RETURN, FREQUENCY = Column("3"), Column("3", "comm_frequency", digits=3)
RELATIVE = Column("3", "comm_frequency", relative=True, digits=2)
COPA = Cell("copa", "copa", TASK, SHORT)
BROKEN = Cell("broken", "vdn", TASK, SHORT)

ROWS = (
    Row(
        "random", Cell("random", "scripted", TASK, {**SHORT, "policy": "random"}), paper={("3", "return"): (1.5, None)}
    ),
    Row("A-QMIX", Cell("aqmix", "aqmix", TASK, SHORT), paper={("3", "return"): (12.25, 0.5)}),
    Row("COPA, beta 0", COPA, {"beta": 0}),
    Row("COPA, beta 1000", COPA, {"beta": 1000}, reference="COPA, beta 0"),
)
COMMON = {
    "source": "nobody",
    "steps": 1000,
    "updates": 500,
    "seeds": (0, 1),
    "training": {"test_nepisode": 1},
    "varied": ("beta",),
}
TOY = Study(
    name="toy",
    title="A toy",
    rows=ROWS,
    columns=(RETURN, FREQUENCY, RELATIVE),
    figure=Bars((RETURN,), "return"),
    notes=("A note.",),
    **COMMON,
)
#: the same models again, drawn as curves
CURVES = Study(
    name="toy_curves",
    title="Toy curves",
    rows=ROWS[2:],
    columns=(RETURN, FREQUENCY),
    figure=Curves(
        "frequency",
        "return",
        (
            ("COPA", tuple(Point(FREQUENCY, row.label, RETURN) for row in ROWS[2:])),
            ("by number", (Point(1, "COPA, beta 0", RETURN),)),
        ),
    ),
    **COMMON,
)
#: one method
SINGLE = Study(
    name="single",
    title="One method",
    rows=(ROWS[1],),
    columns=(RETURN,),
    figure=Bars((RETURN,), "return"),
    **COMMON,
)
#: two of the toy's methods in the course of training
LEARNING = Study(
    name="toy_learning",
    title="Toy learning",
    rows=(ROWS[0], replace(ROWS[1], reference="random")),
    columns=(RETURN, replace(RETURN, until=True)),
    figure=LearningCurves(
        "return",
        (LearningPanel("a toy", RETURN, (LearningLine("random", "random", style=":"), LearningLine("A", "A-QMIX"))),),
    ),
    **COMMON,
)
CESMA = Row("CESMA", Cell("cesma", "cesma", TASK, SHORT))
#: an expert and its students, who are trained in one run
TAUGHT = Study(
    name="toy_taught",
    title="Toy students",
    rows=(CESMA,),
    columns=(RETURN,),
    figure=LearningCurves(
        "return",
        (
            LearningPanel(
                "a toy", RETURN, (LearningLine("expert", "CESMA", "expert/", "--"), LearningLine("students", "CESMA"))
            ),
        ),
    ),
    **COMMON,
)
REGISTRY = {study.name: study for study in (TOY, CURVES, SINGLE, LEARNING, TAUGHT)}
