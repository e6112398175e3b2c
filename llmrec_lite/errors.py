"""Errors that a user can put right: each message names the value and the fix, and the command line shows it alone."""


class LlmrecError(Exception):
    """Base of every error that a user can put right."""


class SettingError(LlmrecError, ValueError):
    """A setting or an argument that cannot be used as it is."""


class DataError(LlmrecError, ValueError):
    """Input data that cannot be used as they are; the message names the rows or columns."""


class UnknownIdError(LlmrecError, ValueError):
    """A user or item id that is not in the data."""


class AssetError(LlmrecError, RuntimeError):
    """An asset is unknown, or cannot be fetched, verified or stored."""


class ModelFileError(LlmrecError, RuntimeError):
    """A model, an adapter or a checkpoint on disk cannot be read, written or used."""


class OutOfMemoryError(LlmrecError, MemoryError):
    """A model or a batch does not fit into memory."""


class DivergedError(LlmrecError, FloatingPointError):
    """A training has left the finite numbers."""
