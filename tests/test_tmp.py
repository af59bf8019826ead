def test_a(toy):
    o = toy.run("full")
    print(o)
    for v in toy.verdicts().values(): print(v.claim, v.outcome, v.measured, v.interval, v.reasons[:2])
    assert 0
