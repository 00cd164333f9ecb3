"""Images over the wire, and the image of the API reference's examples."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

SOURCES = ("image", "image_url", "image_path")

ImageField = Annotated[
    str | None,
    Field(
        min_length=1,
        description="The image file as base64, plain or as a data URL (`data:image/...;base64,`).",
    ),
]
UrlField = Annotated[
    str | None,
    Field(min_length=1, max_length=8192, description="An https URL that the server fetches the image from."),
]
PathField = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=8192,
        description="A file on the server, below one of CAPSTAN_IMAGE_ROOTS.",
    ),
]


class ImageSource(BaseModel):
    """One image of a list, given by exactly one of the three fields."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1, "maxProperties": 1})

    image: ImageField = None
    image_url: UrlField = None
    image_path: PathField = None

    @model_validator(mode="after")
    def _one_source(self) -> "ImageSource":
        if sum(getattr(self, name) is not None for name in SOURCES) != 1:
            raise ValueError(f"exactly one of {', '.join(SOURCES)} is required")
        return self


# A PNG file of a red circle left of a blue square.
EXAMPLE_IMAGE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAcAAAADgAgMAAADpkF5iAAAACVBMVEVmZmbeITA1Uea+L05kAAACn0lEQVR42u2cv26kMBjE"
    "bWSaq1wk7+NHoMhK93jXp+ER/D7Zwj3W+apTFrD5o3zjNclMk5VC+DHzjcFIqyhFURRFURRFUdQ3lP7an//6c/jQv7+VUkqZ"
    "0u9fnVJqGuWsdbMfK+M3p5RS/U080jxQv/3/dKsDfPv8eKsBfC3AUcDezeJ1cOCw4RcB7HcuQBw47F6BLLA/cAmiwMzZDRKY"
    "y0+yqCugzR31ggPmzWgcsDCuAQa0+cMMCliqh0YBi04GENCWjjMgoAPtfUrAjbumgwBt+UALAW7YMAigxm1g88BNFw4A3JyT"
    "BQA3TRjIOsQPsTt+SicO3AnNigOl1vZh4E5mpnJphFrTnTihEwYaVXmGu52xlWcoE0En/4g9CtR1anomUpEMusolPefQigJt"
    "gw6NKNA16FBLArVq0KFE7F3lZXjSoRUE2iYdVgcaQaBr0qG+8Ay1YkuFqtVVvrM1H6m9rkPLGT4JaBjpYaBjaQgEATUjJZBA"
    "Agn8MjAx0naBnpH+FGC8rsPAGUoF8TSHkTOUuuU+zWFqM9J05dL4JiONgsDQpMNw5dLEJiP1gsDUosMkCvQNOoyiwFDbYayy"
    "7s9F6kWBqb3SJGGgr1HSR2BoLtIgDIw1SvoITNUj9RVKemaGURwYKnRmBowVOjMDpurr0OM7MwcGfGfmwIjvzByY8J1ZrEMP"
    "H+ECGOAjXAAjfIQLYDm35CHA8hCjwgDv6ESXwAReFOvHU+HEE2xPcwcnugImbEczT/wR2tEMMHvuEQjMpSf5ZF5vojK1uUOB"
    "a4uClcluE+9Igzng0tDkwUD1Aatoaec9buAhwMd/aSIbaOnd4pMyyQZafJn5GEG84rcbp/d+AOC2vk45vT/9HZ9AAgkkkECK"
    "oiiKoiiKOqx/xBx0Sve+SC8AAAAASUVORK5CYII="
)
