"""What other engines execute. Standard library, and of ours what imports nothing more."""
