from tests.security.hostile import marker, trap

__all__ = ["marker", "trap"]
