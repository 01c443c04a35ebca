"""All code that depends on a particular PySlowFast: finds, repairs, extends and runs it."""

import os
import sys

from slowfast_ac.errors import InputError
from slowfast_ac.pyslowfast.find import Upstream, find


def setup(path: str | os.PathLike | None = None) -> Upstream:
    """Finds PySlowFast, applies the repairs it needs and registers the method with it.

    Must be called in every process that uses PySlowFast, and may be called again.

    Args:
        path: folder of a checkout; see :func:`slowfast_ac.pyslowfast.find.find`.

    Raises:
        InputError: if PySlowFast is not found or cannot be imported.
    """
    from slowfast_ac.pyslowfast.class_names import install_class_names
    from slowfast_ac.pyslowfast.compute import install_compute
    from slowfast_ac.pyslowfast.finetune import install_finetune
    from slowfast_ac.pyslowfast.register import register_into
    from slowfast_ac.pyslowfast.repairs import apply_repairs
    from slowfast_ac.pyslowfast.supported import explain_import

    upstream = find(path)
    if str(upstream.root) not in sys.path:
        sys.path.insert(0, str(upstream.root))
    elif upstream.kind == "checkout":
        # A checkout takes precedence over a wheel that comes earlier.
        sys.path.remove(str(upstream.root))
        sys.path.insert(0, str(upstream.root))
    try:
        apply_repairs(upstream)
        register_into(upstream)
        install_compute(upstream)
        install_finetune(upstream)
        install_class_names()
        # Imported here, since it needs a package that only PySlowFast needs otherwise.
        from slowfast_ac.pyslowfast.console import extend_logging

        extend_logging(upstream)
    except InputError:
        raise
    except Exception as error:
        raise explain_import(upstream, error) from error
    return upstream
