"""What people keep in their account beside the log-in: SSH keys; and who may get in at all."""
