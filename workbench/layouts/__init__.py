"""What names of tensors tell: which model or adapter a file holds, and in whose naming."""
