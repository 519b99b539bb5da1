"""Episodes on random tasks of every domain: one observation and one set of knobs for all."""

from dataclasses import replace

import numpy as np
import pytest

from rlagent_envs import episode as episodes
from rlagent_envs import knobs
from rlagent_envs.config import DOMAINS, EnvConfig
from rlagent_envs.models import FAMILIES
from rlagent_envs.pool import Pool
from rlagent_envs.settings import DEFAULT
from rlagent_envs.tasks.domains import SAMPLERS, sample
from rlagent_envs.tasks.procedural import CONTEXT, sample_task

EVEN = tuple((name, 1.0) for name in DOMAINS)


def test_a_config_names_the_domains_that_there_are() -> None:
    assert tuple(SAMPLERS) == DOMAINS
    for wrong, message in (
        ((("videos", 1.0),), f"domains has no 'videos'; there are: {', '.join(DOMAINS)}"),
        ((("texts", 0.0),), "the weight of the domain texts must be more than 0, got 0.0"),
        ((), "domains must name at least one, got none"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            EnvConfig(domains=wrong)


def test_tables_alone_are_the_tasks_that_they_were() -> None:
    ours, theirs = sample((("tables", 1.0),), 5), sample_task(5)
    np.testing.assert_array_equal(ours.train.x, theirs.train.x)
    assert ours.context == theirs.context


def test_domains_come_as_often_as_their_weights_say() -> None:
    # Only the draw is of interest, so that the tasks need not be made.
    weights = np.array([3.0, 1.0])
    drawn = [
        np.random.default_rng([seed, 6]).choice(2, p=weights / weights.sum()) for seed in range(200)
    ]
    assert 0.15 < np.mean(drawn) < 0.35
    domains = (("tables", 3.0), ("texts", 1.0))
    for seed in range(6):
        assert (sample(domains, seed).form == "tokens") == drawn[seed]


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_episode_of_each_domain(domain: str) -> None:
    config = EnvConfig(
        task="procedural",
        domains=((domain, 1.0),),
        decisions=(2, 2),
        updates_per_decision=(8.0, 8.0),
        depths=(1,),
        widths=(32,),
        robust_share=1.0,
        starts=(("mixup", 0.2, 0.4), ("augmentation", 0.1, 0.2)),
        knobs=("learning_rate", "growth", "mixup", "adversarial_epsilon"),
    )
    pool = Pool(config, 1, "sequential")
    observation = pool.begin(0, 3)
    task = pool.place(0).task
    assert len(task.context) == CONTEXT
    again = sample(config.domains, 3)
    np.testing.assert_array_equal(task.train.x, again.train.x)
    (stepped,) = pool.step(np.array(knobs.HOLD)[None])
    assert stepped.observation.shape == observation.shape
    assert np.isfinite(stepped.observation).all()
    assert np.isfinite(stepped.report.valid_loss)
    assert not stepped.report.diverged


def test_what_has_no_meaning_for_a_task_is_left_out_of_its_start() -> None:
    task = sample((("texts", 1.0),), 0)
    drawn = episodes.draw(
        EnvConfig(robust_share=1.0, starts=(("mixup", 0.2, 0.4),), dropout=(0.1, 0.1)), 1
    )
    start = episodes.suited(drawn, task)
    assert start.robust_epsilon == 0.0
    assert start.settings.mixup == DEFAULT.mixup
    assert start.settings.dropout == drawn.settings.dropout
    family, mlp = FAMILIES[task.family], FAMILIES["mlp"]
    assert family.depths.index(start.rung.depth) == mlp.depths.index(drawn.rung.depth)
    assert family.widths.index(start.rung.width) == mlp.widths.index(drawn.rung.width)
    table = sample_task(0)
    assert episodes.suited(drawn, table) == replace(drawn, settings=drawn.settings)
