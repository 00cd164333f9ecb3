"""The image of the reference's examples: whoever tries one gets an answer."""

# A PNG file of a red circle left of a blue square.
IMAGE = (
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
