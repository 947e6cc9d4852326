"""What can go wrong, as a tree.

    RegardError
    ├── ShapeError (ValueError)     arrays whose axes do not fit together
    ├── DtypeError (TypeError)      a mask that is not boolean, dtypes that are mixed
    ├── InputError (ValueError)     what the user handed in cannot be meant: exit status 2
    │   ├── CorpusError             a file of texts: names the file and the line
    │   ├── RecipeError             a setting: names the key and the known ones
    │   └── RunError                a folder that is not a run, or no longer a whole one
    ├── TrainingError (RuntimeError)  the work itself failed: exit status 1
    │   └── ProcessLost             one of the processes that train together is gone
    └── Interrupted                 the user stopped the work, which is saved: exit status 130

Every message is one sentence or two: what was expected, what came, what to do.
"""


class RegardError(Exception):
    """The root of all errors that regard raises on purpose."""


class ShapeError(RegardError, ValueError):
    """Arrays whose axes do not fit together; the message names the axis and the shapes."""


class DtypeError(RegardError, TypeError):
    """An array of a type that cannot be meant, such as a mask of numbers."""


class InputError(RegardError, ValueError):
    """What the user handed in cannot be meant. The command line ends with status 2."""


class CorpusError(InputError):
    """A file of texts that cannot be read; the message starts with ``file:line``."""


class RecipeError(InputError):
    """A setting that is unknown, misspelt or out of range; the message names the key."""


class RunError(InputError):
    """A folder that is not a run, is truncated, or was written by another version."""


class TrainingError(RegardError, RuntimeError):
    """Training cannot go on: a loss that is not a number, a full disk."""


class ProcessLost(TrainingError):
    """One of the processes that train together is gone; the message says how to go on."""


class Interrupted(RegardError):
    """The user stopped the work; everything up to then is saved, and the message says how to go on."""
