"""What image files say of themselves: headers, samples, losses."""
