"""Files of pictures and sound as arrays, and what is done to them."""
