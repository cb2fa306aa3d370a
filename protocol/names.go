package protocol

// names are the undeclared names of one event in their order: few are found by looking at each, many by hashing, so
// that an event of many fields costs no more than its share.
type names struct {
	list   []string
	places map[string]int // once there are more than fewNames
}

const fewNames = 16

// find returns the place of a name, -1 if it is not there.
func (n *names) find(name string) int {
	if len(n.list) > fewNames {
		if place, ok := n.places[name]; ok {
			return place
		}
		return -1
	}
	for place, s := range n.list {
		if s == name {
			return place
		}
	}
	return -1
}

func (n *names) add(name string) {
	n.list = append(n.list, name)
	if len(n.list) <= fewNames {
		return
	}
	if n.places == nil {
		n.places = make(map[string]int)
	}
	for place := len(n.places); place < len(n.list); place++ {
		n.places[n.list[place]] = place
	}
}

// reset forgets the names, which are views into a batch.
func (n *names) reset() {
	clear(n.list)
	clear(n.places)
	n.list = n.list[:0]
}
