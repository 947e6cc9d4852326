"""From a record to a page, a picture, a terminal.

Light to import: matplotlib is loaded with the first picture, torch never.
"""

from regard.viewer.view import View

__all__ = ["View"]
