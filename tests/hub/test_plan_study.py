"""What a study is made of: days, calls' turns, machines, the recommendation, quotas."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tests.support.aws_settings import aws_section
from workroom_hub.errors import PlanError
from workroom_hub.instance_types import KNOWN
from workroom_hub.plan import advice, machines, packing, report, servers, study, visits
from workroom_hub.plan.machines import Need
from workroom_hub.plan.quotas import Quota
from workroom_hub.plan.servers import Server
from workroom_hub.plan.visits import Visit
from workroom_hub.settings import Settings
from workroom_hub.settings_ecs import Bucket
from workroom_hub.settings_plan import Policy


def with_plan(**plan: Any) -> Settings:
    return Settings.model_validate({"plan": plan})


def a_day(users: int, **plan: Any) -> study.Study:
    return a_day_of(with_plan(**{"day": {"users": users}, **plan}))


def a_day_of(settings: Settings) -> study.Study:
    return study.study(settings, visits.describe(settings), daily=True)


# -- the described day --------------------------------------------------------


def test_the_same_seed_gives_the_same_day_and_more_users_keep_the_first_ones() -> None:
    few, many = (visits.describe(with_plan(day={"users": n, "seed": 7})) for n in (20, 50))
    assert few == visits.describe(with_plan(day={"users": 20, "seed": 7}))
    assert set(few) < set(many)
    assert set(few) != set(visits.describe(with_plan(day={"users": 20, "seed": 8})))


def test_people_come_within_the_day_most_with_the_peak() -> None:
    found = visits.describe(with_plan(day={"users": 2000, "visits": 1, "visit": "1h"}))
    hours = [visit.start / 3600 for visit in found]
    assert len(found) == 2000
    assert min(hours) >= 7
    assert max(hours) <= 18
    # Three quarters come with the peak, of them two thirds within 45 minutes of it, and of the
    # quarter that comes evenly over 11 hours 1.5 / 11: 0.75 * 0.68 + 0.25 * 0.14 = 0.55.
    assert sum(8.25 <= hour <= 9.75 for hour in hours) / 2000 == pytest.approx(0.55, abs=0.04)
    # Half are longer than an hour, one in ten longer than three.
    assert sum(visit.used > 3600 for visit in found) / 2000 == pytest.approx(0.5, abs=0.04)
    assert sum(visit.used > 10_800 for visit in found) / 2000 == pytest.approx(0.1, abs=0.03)


def test_the_mix_is_the_settings_and_without_one_each_is_half_the_one_before() -> None:
    assert visits.weights(with_plan()) == {
        "small": 1.0,
        "medium": 0.5,
        "large": 0.25,
        "x-large": 0.125,
    }
    chosen = with_plan(day={"users": 50, "mix": [{"profile": "large", "weight": 3}]})
    assert {visit.profile for visit in visits.describe(chosen)} == {"large"}
    with pytest.raises(PlanError, match=r"plan\.day\.mix\[0\]\.profile: 'huge' is not a profile"):
        visits.describe(with_plan(day={"mix": [{"profile": "huge", "weight": 1}]}))


# -- servers and their calls --------------------------------------------------


def test_who_comes_back_in_time_finds_her_server() -> None:
    settings = Settings.model_validate({"idle": {"stop_after": "1h", "check_every": "5m"}})
    day = [
        Visit("ann", 0, "small", 600),  # used until 600 s, so it would end at 4200 s
        Visit("ann", 4199, "large", 60),  # in time: the same server, until 4259 + 3600, next check
        Visit("ann", 7800 + 300, "large", 60),  # too late: a new one, of the other size
    ]
    found = servers.of(settings, day)
    assert [(server.profile, server.click, server.end) for server in found] == [
        ("small", 0, 7800 + 300),
        ("large", 8100, 8160 + 3600 + 240),
    ]


def test_a_server_that_is_never_idle_ends_by_age_or_not_at_all() -> None:
    day = [Visit("ann", 0, "small", 600)]
    never = Settings.model_validate({"idle": {"stop_after": 0}})
    assert servers.of(never, day)[0].end == float("inf")
    old = Settings.model_validate({"idle": {"stop_after": 0, "max_age": "8h"}})
    assert servers.of(old, day)[0].end == 8 * 3600


def test_calls_have_their_turn_in_a_token_bucket() -> None:
    bucket = Bucket(burst=2, rate=1)
    # Two at once, then one a second; after a pause of 10 s the bucket has two again.
    assert servers.turns(bucket, [0, 0, 0, 0.5, 12, 12, 12]) == [0, 0, 1, 2, 12, 12, 13]


def test_a_storm_waits_for_run_task_whatever_the_policy() -> None:
    settings = with_plan(
        day={"users": 1},
        assumptions={"new_definitions": 0},
        policies=[{"name": "p", "minimum": 99}],
    )
    storm = [Visit(f"u{n}", 3600, "small", 60) for n in range(300)]
    [result] = study.study(settings, storm).results[:1]
    # 100 at once, 40 a second after that: the last of 300 is called after 5 s, and starts in 15 s.
    assert max(result.outcome.waits) == pytest.approx(20)


# -- machines -----------------------------------------------------------------


def test_the_machine_fits_the_largest_profile_and_is_the_cheapest_that_does() -> None:
    settings = with_plan()
    many = {name: 100 * weight for name, weight in visits.weights(settings).items()}
    kind = machines.choose(settings, many)
    # 8 cores and 32 GiB: an m6i.2xlarge has just that, and keeps 5 % for itself.
    assert kind.name == "m6i.4xlarge"
    memory = machines.choose(settings, {"large": 100.0})
    assert memory.name.startswith("m6i")  # 4 GiB a core
    # A machine holds one x-large, whatever is left: an m6i.2xlarge has too little memory for it.
    assert machines.choose(settings, {"x-large": 1.0}).name == "r6i.2xlarge"


def test_machines_of_a_small_day_come_whole() -> None:
    """One machine is enough for one server, so the cheapest that fits the largest profile is."""
    found = a_day(1)
    assert found.kind.name == "r6i.2xlarge"
    for other in ("m6i.4xlarge", "c6i.8xlarge"):
        assert found.best.cost < a_day(1, machine={"type": other}).best.cost
    # An r6i.2xlarge holds 8 small ones, and two of it cost more than one m6i.4xlarge.
    assert machines.choose(with_plan(), {"small": 9.0}).name == "m6i.4xlarge"
    assert study.world_of(with_plan(), [Visit("ann", 0, "small", 60)])[1].name == "r6i.2xlarge"


def test_a_price_of_ones_own_does_not_change_the_type() -> None:
    listed, own = a_day(80), a_day(80, assumptions={"price": 0.9})
    assert own.kind.name == listed.kind.name
    assert (listed.kind.price, own.kind.price) == (pytest.approx(0.768), 0.9)
    named = with_plan(machine={"type": "m6i.8xlarge"}, assumptions={"price": 0.5})
    assert machines.choose(named, {}).price == 0.5


def test_a_machine_by_name_by_the_cluster_or_of_ones_own() -> None:
    assert machines.choose(with_plan(machine={"type": "r6i.8xlarge"}), {}).memory == int(
        256 * 1024 * 0.95
    )
    cluster = Settings.model_validate({"ecs": {"instance_cpu": 32, "instance_memory": "128G"}})
    assert machines.choose(cluster, {}).name == "m6i.8xlarge"
    own = {"type": "x9", "cpu": 64, "memory": "512G", "tasks": 100}
    assert machines.choose(with_plan(machine=own, assumptions={"price": 3}), {}).price == 3


def test_a_deployment_is_planned_with_the_machines_that_it_has() -> None:
    profiles = [{"name": "small", "title": "Small", "cpu": 2, "memory": "8G"}]
    chosen = {"aws": aws_section(), "profiles": profiles}
    # 8 GiB for servers do not fit an m7i.large, which has 8 in all.
    assert machines.choose(Settings.model_validate(chosen), {}).name == "r7i.large"
    named = {**chosen, "aws": aws_section(instance_type="m7a.4xlarge")}
    assert machines.choose(Settings.model_validate(named), {}).price == pytest.approx(0.92736)
    over = {**named, "plan": {"machine": {"type": "m6i.8xlarge"}}}
    assert machines.choose(Settings.model_validate(over), {}).name == "m6i.8xlarge"
    full = [{"name": "full", "title": "Full", "cpu": 2, "memory": "60G"}]
    tight = {**named, "profiles": full, "plan": {"assumptions": {"memory_kept": 50}}}
    with pytest.raises(PlanError, match=r"aws\.instance_type: a m7a\.4xlarge"):
        machines.choose(Settings.model_validate(tight), {})


def test_every_type_of_a_deployment_can_be_planned() -> None:
    plain = {name for name, each in KNOWN.items() if not each.gpu}
    assert plain == {kind.name for kind in machines.listed(Settings())}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (with_plan(machine={"type": "m6i.xlarge"}), "profile 'x-large' asks for 8 and 32768 MiB"),
        (with_plan(machine={"type": "x9"}), "plan.machine.type: 'x9' is not in the list"),
        (
            Settings.model_validate({"ecs": {"instance_cpu": 4}}),
            "no machine type of the list fits the largest profile and is what ecs.instance_cpu",
        ),
        (
            Settings.model_validate(
                {"profiles": [{"name": "g", "title": "G", "cpu": 1, "memory": "1G", "gpu": 1}]}
            ),
            "all of them have a GPU",
        ),
    ],
)
def test_a_machine_that_cannot_be(settings: Settings, told: str) -> None:
    with pytest.raises(PlanError) as error:
        machines.choose(settings, {})
    assert told in error.value.message
    assert error.value.fix


def test_servers_go_to_the_fullest_machine_and_network_interfaces_count() -> None:
    settings = with_plan(machine={"type": "m6i.4xlarge"}, assumptions={"trunking": False})
    kind = machines.choose(settings, {})
    needs = [Need("tiny", 128, 256), Need("half", 8192, 16_384)]

    def at(when: float, end: float, profile: str = "tiny") -> Server:
        return Server(f"u{when}", profile, when, when, end)

    # Without trunking it takes 7 servers, however small.
    many = packing.pack([at(n, 100) for n in range(8)], needs, kind)
    assert many.machine == [0] * 7 + [1]
    # Two halves fill a machine, so the third opens another, where a tiny one comes as well. When
    # one half is gone both have room, and the next tiny one goes where it is fuller.
    halves = [at(0, 9, "half"), at(1, 99, "half"), at(2, 99, "half")]
    assert packing.pack([*halves, at(3, 99), at(10, 99)], needs, kind).machine == [0, 0, 1, 1, 1]


# -- the study ----------------------------------------------------------------


def test_the_recommendation_is_the_cheapest_that_keeps_the_target() -> None:
    found = a_day(150)
    keeping = [result for result in found.results if result.p95 <= 30]
    assert found.keeps
    assert found.best.cost == min(result.cost for result in keeping)
    assert any(result.p95 > 30 for result in found.results), "the day is too easy to tell"
    sentence = report.recommendation(found)
    assert found.best.policy.name in sentence
    assert f"95 of 100 people wait {round(found.best.p95)} s or less" in sentence


def test_one_percent_less_headroom_than_recommended_misses_the_target() -> None:
    """The search beyond the named policies ends at the least headroom that is enough."""
    found = a_day(1000)
    best = found.best.policy
    assert best.name == f"warm-pool-{100 - best.target}"
    less = {"name": "less", "target": best.target + 1, "warm_pool": best.warm_pool}
    again = a_day(1000, policies=[less])
    assert again.results[0].p95 > 30
    assert again.best.policy == best


def test_the_recommendation_can_be_pasted_into_the_settings() -> None:
    found = a_day(1000)
    best, pasted = found.best, yaml.safe_load(advice.block(found))["aws"]
    assert pasted == advice.fields(found) == report.as_dict(found)["recommended"]["aws"]
    assert pasted["headroom"] == 100 - best.policy.target
    assert pasted["warm_machines"] == best.outcome.prepared > 0
    assert pasted["min_machines"] == 0  # the default of a deployment is 1, which the plan has not
    assert pasted["max_machines"] >= 1.1 * best.outcome.prepared >= best.outcome.largest
    deployed = Settings.model_validate({"aws": aws_section(**pasted)})
    assert machines.choose(deployed, {}) == found.kind
    assert advice.missing(found) == []


def test_what_a_deployment_has_no_field_for_is_told() -> None:
    own = {"type": "x9", "cpu": 64, "memory": "512G", "tasks": 100}
    ours = {"name": "p", "spare": 3, "minimum": 6000, "warm_pool": 1, "warm_state": "hibernated"}
    found = a_day(1, machine=own, assumptions={"price": 3}, policies=[ours], target_wait=1)
    found = replace(found, best=found.results[0])
    told = [sentence.partition(":")[0] for sentence in advice.missing(found)]
    assert told == ["spare", "warm_state", "instance_type", "max_machines"]
    assert set(advice.fields(found)) == {"headroom", "warm_machines"}


def test_a_target_that_nobody_keeps() -> None:
    found = a_day(80, target_wait=5)
    assert not found.keeps
    assert "No policy keeps 95 of 100 waits under 5 s" in report.recommendation(found)
    assert "A server takes 15 s to start even where a machine is ready." in report.recommendation(
        found
    )


def test_where_everybody_comes_at_once_machines_must_be_there_before() -> None:
    settings = with_plan(machine={"type": "m6i.4xlarge"}, assumptions={"new_definitions": 0})
    course = [Visit(f"u{n}", 9 * 3600, "small", 3600) for n in range(200)]
    found = study.study(settings, course)
    assert found.keeps
    assert found.best.policy.name == f"minimum-{found.best.policy.minimum}"
    assert all(each.p95 > 30 for each in found.results if each is not found.best)
    # 16 servers of one core fit a machine: 95 of 100 are 190, on 12 machines.
    assert found.best.policy.minimum == 12
    assert found.world.packed.peak == 13


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [study.percentile(values, p) for p in (50, 95, 99)] == [50, 95, 99]
    assert study.percentile([3.0], 50) == 3.0
    assert study.percentile([], 50) == 0.0


def test_nobody_comes() -> None:
    with pytest.raises(PlanError, match="There is nobody"):
        study.study(with_plan(), [])


def test_a_trace_of_two_days_costs_half_a_day() -> None:
    settings = with_plan(policies=[{"name": "always", "minimum": 2}], assumptions={"price": 1.0})
    day = [Visit("ann", 0, "small", 60), Visit("ann", 86_400, "small", 60)]
    found = study.study(settings, day)
    assert found.days == 2
    assert found.results[0].machine_hours == pytest.approx(48)  # two machines, a day


def test_a_described_day_costs_what_one_more_day_of_a_trace_adds() -> None:
    settings = with_plan(day={"users": 80}, assumptions={"new_definitions": 0})
    day = visits.describe(settings)
    trace = [*day, *visits.a_day_later(day)]
    two = study.study(settings, trace).results
    three = study.study(settings, [*trace, *visits.a_day_later(visits.a_day_later(day))]).results
    found = a_day_of(settings).results
    for place in range(len(settings.plan.policies)):
        one, less, more = found[place], two[place], three[place]
        assert one.cost == pytest.approx(3 * more.cost - 2 * less.cost)


# -- quotas -------------------------------------------------------------------


def test_quotas_the_first_to_break_first() -> None:
    studied = a_day(2000, assumptions={"quota_interfaces": 1500, "quota_access_points": 2000})
    found, best = {quota.name: quota for quota in studied.quotas}, studied.best.outcome
    assert next(iter(found)) == "On-demand vCPUs"
    assert found["On-demand vCPUs"].needed == best.largest * 16
    assert found["On-demand vCPUs"].limit == 5
    # One network interface a server, two a machine.
    peak = max(sample.running for sample in best.samples)
    assert found["Network interfaces"].needed == peak + 2 * best.largest > 1500
    assert found["Network interfaces"].breaks
    assert found["Network interfaces"].users == 2000 * 1500 // (peak + 2 * best.largest)
    # A hundred GiB a machine, those in the warm pool included.
    assert found["gp3 disks"].needed == pytest.approx(best.most_disks * 100 / 1024)
    # As many as there are is not more.
    assert found["EFS access points"].needed == found["EFS access points"].limit == 2000
    assert not found["EFS access points"].breaks
    # Every 30 s a hundred servers a call, and the list of all once a minute.
    pages = -(-peak // 100)
    assert found["DescribeTasks"].needed == pytest.approx(pages / 30 + pages / 60)
    others = {"PROVISIONING tasks", "RunTask", "RegisterTaskDefinition", "Container instances"}
    assert others < set(found)
    assert all(quota.source and quota.setting and quota.effect for quota in found.values())
    shares = [quota.share for quota in found.values()]
    assert shares == sorted(shares, reverse=True)


def test_machines_come_whole() -> None:
    """An m6i.4xlarge has 16 vCPUs; without headroom ECS takes two from none."""

    def vcpus(users: int, allowed: int) -> Quota:
        plan = {"machine": {"type": "m6i.4xlarge"}, "target_wait": "1d"}
        found = a_day(users, **plan, assumptions={"quota_vcpus": allowed})
        return next(quota for quota in found.quotas if quota.name == "On-demand vCPUs")

    for users in (1, 80):
        assert vcpus(users, 15).breaks
        assert vcpus(users, 15).full_at == "the first machine"
        assert vcpus(users, 15).users == 1
    # One machine is allowed, and one person takes two: it is never full at nobody.
    assert (vcpus(1, 16).needed, vcpus(1, 16).full_at) == (32, "one person")
    assert vcpus(80, 16).full_at == f"{80 * 16 // vcpus(80, 16).needed} people"


def test_a_quota_that_the_day_does_not_touch_has_no_size() -> None:
    found = {quota.name: quota for quota in a_day(1, assumptions={"new_definitions": 0}).quotas}
    assert found["RegisterTaskDefinition"].users is None
    assert found["RegisterTaskDefinition"].full_at == "no size"


def test_a_few_calls_that_came_together_tell_no_size() -> None:
    few = {quota.name: quota for quota in a_day(80).quotas}["RegisterTaskDefinition"]
    assert 0 < few.needed <= 3 / 60
    assert (few.users, few.full_at, few.telling) == (None, "too few calls to tell", False)
    many = {quota.name: quota for quota in a_day(1000, assumptions={"new_definitions": 100}).quotas}
    assert many["RegisterTaskDefinition"].users
    assert many["RegisterTaskDefinition"].telling
    small = {quota.name: quota for quota in a_day(80).quotas}["EFS access points"]
    assert (small.share, small.users, small.telling) == (0.008, 10_000, False)


def test_a_raised_quota_no_longer_breaks_first() -> None:
    raised = {"quota_vcpus": 20_000, "quota_disk": 200, "quota_interfaces": 1500}
    found = a_day(2000, assumptions=raised)
    assert found.quotas[0].name == "Network interfaces"
    assert "The first quota to break is Network interfaces" in report.first_quota(found)
    small = a_day(80, assumptions=raised)
    assert not any(quota.breaks for quota in small.quotas)
    assert report.first_quota(small).startswith("No quota breaks. The nearest is")


def test_every_setting_that_a_quota_names_is_there() -> None:
    for quota in a_day(80).quotas:
        place: Any = Settings()
        for part in quota.setting.split("."):
            place = getattr(place, part)


# -- bounds and data ----------------------------------------------------------


@pytest.mark.parametrize("field", ["minimum", "spare"])
def test_the_largest_policy_can_be_simulated(field: str) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 100000"):
        Policy.model_validate({"name": "p", field: 100_001})
    assert a_day(1, policies=[{"name": "p", field: 100_000}]).results[0].outcome.largest >= 6250


def test_a_trace_whose_server_ends_after_years_is_not_followed_so_far() -> None:
    settings = Settings.model_validate({"idle": {"stop_after": "99999d"}})
    found = study.study(settings, [Visit("ann", 43_200, "small", 60)])
    assert found.results[0].machine_hours < 24


@pytest.mark.parametrize("daily", [False, True])
def test_a_call_that_never_has_its_turn_is_not_awaited(daily: bool) -> None:
    quotas = {"run": {"burst": 1, "rate": 1e-12}}
    policies = [{"name": "always", "minimum": 1}]
    settings = Settings.model_validate({"ecs": {"quotas": quotas}, "plan": {"policies": policies}})
    both = [Visit(user, 43_200, "small", 60) for user in ("ann", "bob")]
    outcome = study.study(settings, both, daily=daily).results[0].outcome
    assert outcome.gave_up == (2 if daily else 1)


def test_the_data_for_programs_says_the_same() -> None:
    found = a_day(80)
    data = json.loads(json.dumps(report.as_dict(found)))
    assert data["people"] == 80
    assert data["starts"] == len(found.world.starts) == len(found.world.servers) / 2
    assert [policy["name"] for policy in data["policies"] if policy["recommended"]] == [
        data["recommended"]["policy"]
    ]
    for policy, result in zip(data["policies"], found.results, strict=True):
        assert policy["wait"]["p95"] == round(result.p95, 1)
        assert policy["cost_a_day"] == round(result.cost, 2)
    assert data["first_to_break"] == data["quotas"][0]["name"]
