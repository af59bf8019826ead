"""Layers and products that several papers share."""
