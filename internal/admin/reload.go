package admin

import (
	"encoding/json"
	"net/http"
	"time"
)

// ReloadPath is where a POST makes flinktail read its configuration again.
const ReloadPath = "/api/reload"

// ReloadAnswer is the answer to that, with 200 when it is done and 422 when nothing was changed.
type ReloadAnswer struct {
	Error         string `json:"error,omitempty"`
	Configuration bool   `json:"configuration,omitempty"` // the configuration itself is wrong
}

// reloadPage answers when the reload is over, however long that takes.
func (o Options) reloadPage(w http.ResponseWriter, _ *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // the server's can be lifted
	answer, status := o.Reload(), http.StatusOK
	if answer.Error != "" {
		status = http.StatusUnprocessableEntity
	}
	text, err := json.Marshal(answer)
	if err != nil {
		writeText(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // an error is the client's, which is gone
}
