"""Where resources come from, as text. It parses nothing: a source knows files and bytes, not kinds."""
