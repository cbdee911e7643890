"""Workroom on AWS: what is deployed there, and what runs on its machines."""
