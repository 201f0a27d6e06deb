"""Networks that look at pictures: from pictures to features."""
