"""What of sacred is used; no other file imports it."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # sacred uses pkg_resources, which warns of its own end
    from sacred import SETTINGS, Experiment
    from sacred.observers import FileStorageObserver, MongoObserver
    from sacred.serializer import flatten

__all__ = ["SETTINGS", "Experiment", "FileStorageObserver", "MongoObserver", "flatten"]
