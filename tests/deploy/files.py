"""What tests look for in written files."""


def builtin(exported):
    """Check that a LiteRT file holds no operator from elsewhere."""
    assert len(exported.operators) > 5
    assert not [name for name in exported.operators if "flex" in name.lower() or "CUSTOM" in name]
