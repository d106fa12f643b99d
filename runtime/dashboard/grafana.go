package dashboard

// schemaVersion is that of the JSON: Grafana's since version 12. Older ones read it, newer ones migrate it.
const schemaVersion = 41

// The parts of Grafana's dashboard JSON that are written here.
type (
	dashboard struct {
		UID           string      `json:"uid"`
		Title         string      `json:"title"`
		Tags          []string    `json:"tags"`
		SchemaVersion int         `json:"schemaVersion"`
		Version       int         `json:"version"`
		Editable      bool        `json:"editable"`
		Refresh       string      `json:"refresh"`
		Timezone      string      `json:"timezone"`
		GraphTooltip  int         `json:"graphTooltip"` // 1: one crosshair for all
		Time          span        `json:"time"`
		Templating    templating  `json:"templating"`
		Annotations   annotations `json:"annotations"`
		Links         []any       `json:"links"`
		Panels        []panel     `json:"panels"`
	}
	span struct {
		From string `json:"from"`
		To   string `json:"to"`
	}
	annotations struct {
		List []any `json:"list"`
	}
	templating struct {
		List []variable `json:"list"`
	}
	variable struct {
		Name       string      `json:"name"`
		Label      string      `json:"label"`
		Type       string      `json:"type"`
		Query      string      `json:"query"`
		Definition string      `json:"definition,omitempty"`
		Datasource *datasource `json:"datasource,omitempty"`
		Refresh    int         `json:"refresh,omitempty"` // 2: when the time range changes
		Sort       int         `json:"sort,omitempty"`
		Multi      bool        `json:"multi"`
		IncludeAll bool        `json:"includeAll"`
		AllValue   string      `json:"allValue,omitempty"`
		Current    *current    `json:"current,omitempty"`
	}
	current struct {
		Text  any `json:"text,omitempty"`
		Value any `json:"value,omitempty"`
	}
	datasource struct {
		Type string `json:"type"`
		UID  string `json:"uid"`
	}
	panel struct {
		ID          int            `json:"id"`
		Type        string         `json:"type"`
		Title       string         `json:"title"`
		Description string         `json:"description,omitempty"`
		GridPos     grid           `json:"gridPos"`
		Datasource  *datasource    `json:"datasource,omitempty"`
		Targets     []target       `json:"targets,omitempty"`
		FieldConfig *fieldConfig   `json:"fieldConfig,omitempty"`
		Options     map[string]any `json:"options,omitempty"`
	}
	grid struct {
		H int `json:"h"`
		W int `json:"w"`
		X int `json:"x"`
		Y int `json:"y"`
	}
	target struct {
		RefID        string      `json:"refId"`
		Datasource   *datasource `json:"datasource"`
		Expr         string      `json:"expr"`
		LegendFormat string      `json:"legendFormat,omitempty"`
		Format       string      `json:"format,omitempty"`
		Instant      bool        `json:"instant,omitempty"`
		Range        bool        `json:"range,omitempty"`
	}
	fieldConfig struct {
		Defaults  defaults   `json:"defaults"`
		Overrides []override `json:"overrides"`
	}
	override struct{}
	defaults struct {
		Unit       string      `json:"unit,omitempty"`
		Min        *float64    `json:"min,omitempty"`
		Max        *float64    `json:"max,omitempty"`
		Mappings   []mapping   `json:"mappings,omitempty"`
		Thresholds *thresholds `json:"thresholds,omitempty"`
	}
	mapping struct {
		Type    string           `json:"type"`
		Options map[string]shown `json:"options"`
	}
	shown struct {
		Text string `json:"text"`
	}
	thresholds struct {
		Mode  string `json:"mode"`
		Steps []step `json:"steps"`
	}
	step struct {
		Color string   `json:"color"`
		Value *float64 `json:"value"` // nil of the first
	}
)

// prometheus is the data source that is chosen on the dashboard.
func prometheus() *datasource { return &datasource{"prometheus", "${datasource}"} }

func number(x float64) *float64 { return &x }

// fields are the settings of values in a unit, coloured by thresholds.
func fields(unit string, steps ...step) *fieldConfig {
	out := &fieldConfig{Defaults: defaults{Unit: unit}, Overrides: []override{}}
	if len(steps) > 0 {
		out.Defaults.Thresholds = &thresholds{"absolute", steps}
	}
	return out
}

func withMin(f *fieldConfig, least float64) *fieldConfig {
	f.Defaults.Min = &least
	return f
}

// mapped shows values as texts.
func mapped(f *fieldConfig, texts map[string]string) *fieldConfig {
	m := mapping{"value", map[string]shown{}}
	for value, text := range texts {
		m.Options[value] = shown{text}
	}
	f.Defaults.Mappings = []mapping{m}
	return f
}

// reduce shows the last value of a series.
func reduce() map[string]any {
	return map[string]any{"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}}
}
