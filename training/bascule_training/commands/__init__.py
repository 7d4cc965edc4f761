"""The commands of the training package: `bascule train` and `bascule data`."""
