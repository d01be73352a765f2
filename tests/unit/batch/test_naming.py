"""Results are named once, never alike, and the same whatever the order in which inputs are found."""

from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from stackctl.batch.naming import stems

NAMES = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "sub/"]),
        st.sampled_from(["a", "a_png", "a_png_out", "a_out", "a.b", "a_png_out_2", "ü"]),
        st.sampled_from([".png", ".PNG", ".jpg", ".jpeg"]),
    ),
    unique=True,
)


@given(NAMES, st.sampled_from(["out", "_out", "", "png", "2"]), st.randoms())
def test_no_two_results_share_a_name_and_no_order_changes_them(names: list[str], suffix: str, random: object) -> None:
    chosen = stems(names, suffix)
    assert sorted(chosen) == sorted(names)
    assert len(set(chosen.values())) == len(names)
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert stems(shuffled, suffix) == chosen
    for name, stem in chosen.items():
        assert PurePosixPath(stem).parent == PurePosixPath(name).parent
        assert PurePosixPath(stem).name.startswith(PurePosixPath(name).stem)


def test_an_image_gets_the_bare_name_unless_it_shares_it() -> None:
    assert stems(["a.jpg", "a.png", "b.png"], "out") == {"a.jpg": "a_jpg_out", "a.png": "a_png_out", "b.png": "b_out"}
    assert stems(["a_jpg.png", "a.jpg", "a.png"], "out") == {
        "a_jpg.png": "a_jpg_out",
        "a.jpg": "a_jpg_out_2",
        "a.png": "a_png_out",
    }


def test_an_underscore_in_front_of_a_suffix_is_not_doubled() -> None:
    assert stems(["a.png"], "_out") == stems(["a.png"], "out") == {"a.png": "a_out"}
    assert stems(["a.png"], "") == {"a.png": "a"}
