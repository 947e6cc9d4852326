"""From weight to ink: ramps in which nothing is the colour of the paper and one is full colour.

Each ramp is even in lightness (CIE L*), so that a weight twice as large looks twice as far from the paper,
also in greyscale. The hues are those of cividis and viridis, faded towards the paper so that small weights do
not shine.

Source:
    Nuñez, Anderton and Renslow 2018, "Optimizing colormaps with consideration for color vision deficiency"
    (cividis); van der Walt and Smith 2015 (viridis).
"""

from __future__ import annotations

import numpy as np

from regard.errors import InputError

__all__ = ["DIVERGING", "RAMPS", "lightness", "ramp"]

# 17 colours at weights 0, 1/16, …, 1; between them colours are interpolated.
# "light" starts at white, "dark" near black.
RAMPS: dict[str, dict[str, str]] = {
    "cividis": {
        "light": "ffffff f2efe9 e8e0c9 dcd1aa cfc291 c0b481 b0a579 9f9777 8d8978 "
        "7c7b78 6c6d72 5b606e 4a536c 36466c 1c396f 002d67 00224e",
        "dark": "14161a 1e2028 262b3d 2a3558 344265 434e6b 555b6d 656870 757575 "
        "858279 969077 a89e73 baac6d ccba64 dec958 f0d847 fee838",
    },
    "viridis": {
        "light": "ffffff f2f0e9 e7e1c7 d1d6a3 adcd88 82c47c 56b97c 30ab83 1e9b8a "
        "23898d 2a788e 31668e 3a548c 424186 472c7b 48186a 440154",
        "dark": "14161a 231f29 362441 442a61 46377d 3e4a89 365c8d 2e6e8e 277f8e "
        "21908c 1fa187 2cb27d 49c16e 70cf57 9eda3a cfe11c fde725",
    },
    "greys": {
        "light": "ffffff eeeeee dedede cecece bebebe aeaeae 9f9f9f 909090 818181 "
        "737373 646464 565656 494949 3c3c3c 2f2f2f 232323 181818",
        "dark": "14161a 212121 2d2d2d 393939 454545 525252 5f5f5f 6d6d6d 7b7b7b "
        "898989 989898 a6a6a6 b5b5b5 c5c5c5 d4d4d4 e4e4e4 f3f3f3",
    },
}

# From less (orange) over the same (the paper) to more (purple), which everybody can tell apart: PuOr of
# ColorBrewer, by Harrower and Brewer 2003.
DIVERGING = {
    "light": "b35806 e08214 fdb863 fee0b6 ffffff d8daeb b2abd2 8073ac 542788",
    "dark": "ffc27a e08214 a3560a 52300c 14161a 2c2850 54479a 8f83c4 c9bff2",
}


def ramp(name: str = "cividis", paper: str = "light") -> np.ndarray:
    """A ramp as 256 colours.

    Args:
        name: ``"cividis"``, ``"viridis"`` or ``"greys"``.
        paper: ``"light"`` (nothing is white) or ``"dark"`` (nothing is near-black).

    Returns:
        (256, 3) uint8 red, green, blue; entry ``round(255 * weight)`` is the colour of a weight.

    Raises:
        InputError: there is no such ramp.
    """
    if name not in RAMPS or paper not in RAMPS[name]:
        raise InputError(
            f"{name} on {paper} is no ramp. Known ramps: {', '.join(RAMPS)}; papers: light, dark."
        )
    anchors = np.array([list(bytes.fromhex(colour)) for colour in RAMPS[name][paper].split()], dtype=float)
    place = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(place, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def lightness(colours: np.ndarray) -> np.ndarray:
    """CIE L* of colours, from 0 (black) to 100 (white).

    Args:
        colours: (…, 3) uint8 sRGB.
    """
    channel = np.asarray(colours, dtype=float) / 255
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
