"""Model families: what differs between Stable Diffusion 1.x, 2.x and XL, behind one protocol."""
