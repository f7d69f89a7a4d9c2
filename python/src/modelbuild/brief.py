"""Imported first by processes that live for seconds: Python does not look for garbage in what stays anyway.

To look through all that is loaded again and again takes a tenth of a hook's time, and once more at its end,
when everything is given back, a sixth.
"""

import atexit
import gc

gc.set_threshold(200_000)
atexit.register(gc.freeze)
