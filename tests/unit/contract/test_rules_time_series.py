import pytest

from airflow_automl.contract.model import shapes
from airflow_automl.contract.values import TIME_SERIES_ALGORITHMS
from tests.unit.contract.samples import TS, channel, found, v2, warned

FILLING = f"{TS}.Transformations.Filling"


def series(**config):
    return v2("time_series", config)


def filling(column="price", **methods):
    return series(Transformations={"Filling": {column: methods}})


@pytest.mark.parametrize("name", shapes()["AutoMLAlgorithm"]["enum"])
def test_r58_forecasting_has_its_own_algorithms(name):
    generation = {"AlgorithmsConfig": [{"AutoMLAlgorithms": ["ets", name] if name != "ets" else ["ets"]}]}
    expected = {("R58", f"{TS}.CandidateGenerationConfig.AlgorithmsConfig[0].AutoMLAlgorithms[1]")}
    rejected = name not in TIME_SERIES_ALGORITHMS
    assert found("V2", series(CandidateGenerationConfig=generation)) == (expected if rejected else set())


@pytest.mark.parametrize("split", [{}, {"ValidationFraction": 0.2}])
def test_r69_series_are_not_split(split):
    assert found("V2", v2("time_series", DataSplitConfig=split)) == {("R69", "DataSplitConfig")}


class TestR73Frequency:
    PATH = f"{TS}.ForecastFrequency"

    @pytest.mark.parametrize(
        "frequency", ["1min", "15min", "59min", "1H", "23H", "1D", "6D", "1W", "4W", "1M", "11M", "1Y"]
    )
    def test_up_to_the_next_unit(self, frequency):
        assert warned("V2", series(ForecastFrequency=frequency)) == set()

    @pytest.mark.parametrize("frequency", ["Y", "M", "W", "D", "H"])
    def test_a_bare_letter_is_one_of_it(self, frequency):
        assert warned("V2", series(ForecastFrequency=frequency)) == {("R73", self.PATH)}

    @pytest.mark.parametrize(
        "frequency",
        ["60min", "24H", "7D", "5W", "12M", "2Y", "0D", "01D", "1d", "1h", "min", "1S", "D1", "1.5H", "-1D"],
    )
    def test_anything_else_is_rejected_by_shape_and_explained(self, frequency):
        assert found("V2", series(ForecastFrequency=frequency)) == {("R73", self.PATH), ("shape", self.PATH)}

    def test_the_message_names_the_next_unit(self):
        from airflow_automl.contract.checking import check

        messages = [str(found) for found in check("V2", series(ForecastFrequency="120min")) if found.rule == "R73"]
        assert "write 2H" in messages[0]


@pytest.mark.parametrize(("horizon", "rejected"), [(1, False), (500, False), (501, True), (10**9, True)])
def test_r74_the_horizon_has_a_limit(horizon, rejected):
    expected = {("R74", f"{TS}.ForecastHorizon")} if rejected else set()
    assert found("V2", series(ForecastHorizon=horizon)) == expected


class TestR75Quantiles:
    def test_bounds(self):
        assert found("V2", series(ForecastQuantiles=["p1", "p10", "p50", "p90", "p99"])) == set()

    def test_each_once(self):
        assert found("V2", series(ForecastQuantiles=["p10", "p50", "p10"])) == {("R75", f"{TS}.ForecastQuantiles[2]")}

    @pytest.mark.parametrize("quantile", ["p0", "p01", "p100", "mean", "0.5", "P50"])
    def test_others_are_rejected(self, quantile):
        path = f"{TS}.ForecastQuantiles[0]"
        assert found("V2", series(ForecastQuantiles=[quantile])) == {("R75", path), ("shape", path)}


class TestFilling:
    def test_r76_the_front_is_not_filled(self):
        assert found("V2", filling("demand", frontfill="none")) == set()
        assert found("V2", filling("demand", frontfill="zero")) == {("R76", f"{FILLING}.demand.frontfill")}

    def test_r77_frontfill_is_for_the_target(self):
        assert found("V2", filling("price", frontfill="none")) == {("R77", f"{FILLING}.price.frontfill")}

    @pytest.mark.parametrize("method", ["middlefill", "backfill", "futurefill"])
    @pytest.mark.parametrize("option", ["zero", "median", "mean", "min", "max"])
    def test_r78_options(self, method, option):
        assert warned("V2", filling("demand", **{method: option})) == set()

    @pytest.mark.parametrize("option", ["none", "0", "sum", "Mean"])
    def test_r78_others_are_rejected(self, option):
        assert found("V2", filling(futurefill=option)) == {("R78", f"{FILLING}.price.futurefill")}

    @pytest.mark.parametrize("column", ["day", "item", "store"])
    def test_r78_identifiers_are_doubtful(self, column):
        request = filling(column, backfill="zero")
        config = request["AutoMLProblemTypeConfig"]["TimeSeriesForecastingJobConfig"]
        config["TimeSeriesConfig"]["GroupingAttributeNames"] = ["store"]
        assert warned("V2", request) == {("R78", f"{FILLING}.{column}")}

    def test_r79_a_value_is_named(self):
        assert found("V2", filling(backfill="value")) == {("R79", f"{FILLING}.price.backfill_value")}
        assert found("V2", filling(backfill="value", backfill_value="2")) == set()

    def test_r79_the_target_is_filled_with_numbers(self):
        path = f"{FILLING}.demand.backfill_value"
        assert warned("V2", filling("demand", backfill="value", backfill_value="none")) == {("R79", path)}
        assert warned("V2", filling("demand", backfill="value", backfill_value="-3")) == set()
        assert warned("V2", filling("colour", backfill="value", backfill_value="blue")) == set()

    @pytest.mark.parametrize("methods", [{"middlefill_value": "1"}, {"middlefill": "zero", "middlefill_value": "1"}])
    def test_r80_a_value_needs_its_method(self, methods):
        assert found("V2", filling(**methods)) == {("R80", f"{FILLING}.price.middlefill_value")}

    def test_r80_the_front_takes_no_value(self):
        request = filling("demand", frontfill="value", frontfill_value="1")
        assert found("V2", request) == {
            ("R76", f"{FILLING}.demand.frontfill"),
            ("R80", f"{FILLING}.demand.frontfill_value"),
        }

    def test_names_with_dots_and_blanks_are_columns_too(self):
        assert found("V2", filling("unit price.net", backfill="x")) == {("R78", f"{FILLING}.unit price.net.backfill")}


class TestR81Aggregation:
    @pytest.mark.parametrize("method", ["sum", "avg", "first", "min", "max"])
    def test_the_target_is_aggregated(self, method):
        assert warned("V2", series(Transformations={"Aggregation": {"demand": method}})) == set()

    def test_other_columns_are_not(self):
        request = series(Transformations={"Aggregation": {"demand": "sum", "price": "avg"}})
        assert found("V2", request) == {("R81", f"{TS}.Transformations.Aggregation.price")}

    def test_r82_other_methods_are_a_matter_of_shape(self):
        request = series(Transformations={"Aggregation": {"demand": "median"}})
        assert found("V2", request) == {("shape", f"{TS}.Transformations.Aggregation.demand")}


class TestR84Columns:
    @pytest.mark.parametrize(
        ("change", "path"),
        [
            ({"TimestampAttributeName": "demand"}, "TimestampAttributeName"),
            ({"ItemIdentifierAttributeName": "day"}, "ItemIdentifierAttributeName"),
            ({"GroupingAttributeNames": ["store", "item"]}, "GroupingAttributeNames[1]"),
            ({"GroupingAttributeNames": ["store", "store"]}, "GroupingAttributeNames[1]"),
        ],
    )
    def test_columns_differ(self, change, path):
        columns = {
            "TargetAttributeName": "demand",
            "TimestampAttributeName": "day",
            "ItemIdentifierAttributeName": "item",
            **change,
        }
        assert warned("V2", series(TimeSeriesConfig=columns)) == {("R84", f"{TS}.TimeSeriesConfig.{path}")}


def test_r85_holidays_without_country_are_doubtful():
    assert warned("V2", series(HolidayConfig=[{}])) == {("R85", f"{TS}.HolidayConfig[0].CountryCode")}
    assert warned("V2", series(HolidayConfig=[{"CountryCode": "US"}])) == set()


def test_r86_a_validation_channel_is_doubtful():
    channels = [channel(), channel(ChannelType="validation")]
    path = "AutoMLJobInputDataConfig[1].ChannelType"
    assert warned("V2", v2("time_series", AutoMLJobInputDataConfig=channels)) == {("R86", path)}
