"""What is scaled on, in simulation."""

from bench.autoscaling import LOADS, Simulation, request_count, work


def test_work_reacts_to_few_heavy_requests_which_a_count_misses() -> None:
    """With 13 tiles a request, work asks for replicas sooner, fewer are late, and fewer replicas are idle."""
    load = LOADS["13 tiles, 20 tokens"]
    ours, counted = Simulation(load, work()).run(), Simulation(load, request_count(16)).run()
    assert ours.reaction is not None
    assert counted.reaction is not None
    assert ours.reaction < counted.reaction
    assert ours.late < 0.7 * counted.late
    assert ours.unused < 0.7 * counted.unused
