"""Made-up films for report.html, noisy as real ones, and a page of them."""

import numpy as np

from cxr_jax.report.page.content import (
    Cell,
    Column,
    Page,
    PageFilm,
    PagePath,
    PageTable,
    Row,
    RunFacts,
)

HOSTILE = '<script>alert(1)</script>&".png'
ARABIC = "صورة\u202e-الصدر-\u0131\U0001fac1.png"


def make_path(
    rng: np.random.Generator,
    film: np.ndarray,
    *,
    name: str,
    steps: int,
    stop: int,
    towards: int,
    everywhere: bool = False,
) -> PagePath:
    """A walk that fades in a smooth change of a quarter of the film, or of all of it."""
    side = len(film)
    wave = np.sin(np.linspace(0, 9, side) + rng.uniform(0, 6))
    change = 60 * np.outer(wave, wave[::-1])
    if not everywhere:
        change[:, side // 2 :] = change[side // 2 :] = 0
    share = np.linspace(0, 1, steps + 1)[:, None, None]
    frames = np.clip(np.round(film + share * change), 0, 255).astype(np.uint8)
    margin = np.float32(towards * np.linspace(-3, 4, steps + 1))
    return PagePath(
        name=name,
        frames=frames,
        margin=margin,
        judge_margin=margin / 2 + np.float32(0.1),
        stop=stop,
        target=3.0 * towards,
    )


def make_film(
    seed: int = 0,
    *,
    name: str = "film.png",
    reason: str = "",
    side: int = 16,
    steps: int = 6,
    towards: int = -1,
    num_maps: int = 1,
    paths: tuple[str, ...] = ("necessary", "linear"),
    everywhere: bool = False,
) -> PageFilm:
    """A film of noise upon a gradient of grey, walked along paths that stop at other frames."""
    rng = np.random.default_rng(seed)
    film = np.linspace(60, 180, side)[:, None] + rng.normal(0, 10, (side, side))
    lesion = np.zeros((side, side), bool)
    lesion[2 : side // 2, 3 : side // 2] = True
    return PageFilm(
        name=name,
        reason=reason,
        towards=towards,
        paths=[
            make_path(
                rng,
                film,
                name=path,
                steps=steps,
                stop=steps - 1 - at,
                towards=towards,
                everywhere=everywhere,
            )
            for at, path in enumerate(paths)
        ],
        masks={"lesion_mask": lesion, "lung_mask": np.roll(lesion, 2, axis=1)},
        maps={f"map {i}": np.abs(rng.normal(size=(side, side))) for i in range(num_maps)},
    )


def make_table(*entries: Cell) -> PageTable:
    """One row under columns that are called by numbers."""
    return PageTable(
        title="Walks",
        about="What is asked.",
        row_title="path",
        columns=[
            Column(title=f"column {i}", meaning=f"meaning {i}", best="1")
            for i in range(len(entries))
        ],
        rows=[Row(title="linear", note="of one kind", cells=list(entries))],
    )


def make_page(*films: PageFilm, **fields) -> Page:
    """A page of these films, with a table and a verdict; `fields` replace some of it."""
    table = make_table(Cell(text="0.84 [0.66, 0.95]"), Cell(text="–", reason="nobody knows"))
    plain = dict(
        facts=RunFacts(
            finding="“covid”",
            is_phantom=False,
            image_size=16,
            provenance={"cxr_jax": "1.2.3", "seed": "0"},
        ),
        films=films,
        num_explained=len(films),
        rejected=[("other.png", "f differs on the reconstruction by 0.31 of the class gap")],
        coverage="2 of 3 films passed the gate.",
        audit="No shortcut found outside the lungs: 1% [0%, 2%] of the evidence lies there.",
        tables=[table],
        audit_tables=[table],
        map_notes={},
        where="walks.npz",
    )
    return Page(**plain | fields)
