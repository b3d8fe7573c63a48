"""What the picture of a pull says: stages, rates, time left, and what holds it up."""

from typing import Any

from sampan.cli.pull_board import Overall, PullBoard
from sampan.cli.pull_progress import describe_overall
from sampan.images.layer_packing import ImportEvent


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def board_of(clock: Clock, *events: tuple[float, dict[str, Any]]) -> PullBoard:
    board = PullBoard(clock)
    for at, members in events:
        clock.now = 100.0 + at
        board.hear(ImportEvent(**members))
    return board


def layer(text: str, done: int, total: int = 1000, stage: str = "fetch", limit: str = "") -> Any:
    return {
        "kind": "layer",
        "text": text,
        "done": done,
        "total": total,
        "stage": stage,
        "limit": limit,
    }


def test_rates_are_those_of_the_last_seconds() -> None:
    board = board_of(Clock(), (0, layer("a", 0)), (1, layer("a", 100)), (2, layer("a", 400)))
    assert board.layers()[0].rate == 200
    overall = board.overall()
    assert (overall.done, overall.total, overall.rate) == (400, 1000, 200)
    assert overall.seconds_left == 3


def test_a_link_that_stands_still_shows_in_the_rate() -> None:
    clock = Clock()
    board = board_of(clock, (0, layer("a", 0)), (1, layer("a", 100)))
    clock.now += 9
    assert board.layers()[0].rate == 10
    assert board.overall().rate == 10


def test_what_holds_most_layers_up_is_named() -> None:
    board = board_of(
        Clock(),
        (0, layer("a", 1, limit="network")),
        (1, layer("b", 1, limit="cpu")),
        (2, layer("c", 1, limit="network")),
    )
    assert board.overall().limit == "network"


def test_a_layer_that_is_done_is_done_and_one_that_was_here_does_not_count() -> None:
    board = board_of(
        Clock(),
        (0, layer("a", 500)),
        (1, {"kind": "packed", "text": "a", "done": 1000, "total": 1000}),
        (1, {"kind": "present", "text": "b"}),
    )
    assert [state.stage for state in board.layers()] == ["done", "here"]
    assert (board.overall().done, board.overall().total) == (1000, 1000)


def test_a_layer_that_is_begun_anew_has_no_negative_rate() -> None:
    board = board_of(
        Clock(), (0, layer("a", 900, stage="wait")), (1, layer("a", 10)), (2, layer("a", 30))
    )
    assert board.layers()[0].rate == 20


def test_a_line_says_how_far_how_fast_how_long_and_why() -> None:
    overall = Overall("fetch", 25_000_000, 100_000_000, "network", 5e6, 15.0)
    assert (
        describe_overall(overall) == "25MB of 100MB (25%), 5MB/s, 15 s left, limited by the network"
    )
    assert describe_overall(overall._replace(seconds_left=7000, limit="", rate=1e4)).endswith(
        "1 h 56 min left"
    )
    assert describe_overall(overall._replace(stage="link")) == "linking the image"
