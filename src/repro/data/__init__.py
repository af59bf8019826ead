"""Data sets: which bytes (`pointers`), how to get them (`fetch`), and readers that trust none of them."""
