from gan.errors import first_few


def test_first_few__names_five_and_counts_the_rest():
    assert first_few([]) == "nothing"
    assert first_few(["a", "b"]) == "a, b"
    assert first_few([str(i) for i in range(2005)]) == "0, 1, 2, 3, 4 and 2,000 more"
