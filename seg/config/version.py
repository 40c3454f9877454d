"""The version, which packaging reads from here and everything that is written names."""

VERSION = "0.2.0"
