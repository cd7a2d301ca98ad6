"""What is read: one file a source, its readings and how to read them."""
