package httpinput

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/input/internal/intake"
)

// post is one request from the moment its body is read until both its answer is written and its events are settled.
// It is pooled with all it needs.
type post struct {
	in       *Input
	body     *[]byte // what was received, decompressed; the events are views into it
	drawn    int64   // of the budget
	batch    *intake.Batch
	accepted int
	answer   []byte

	users   atomic.Int32 // the handler, and the pipeline while it has the events
	settled chan struct{}
	lost    error       // why custody was lost; valid once settled
	done    func(error) // p.settle
	timer   *time.Timer

	since      time.Time // when the pipeline took the events
	prev, next *post     // in unsettledPosts
}

func newPost(in *Input) *post {
	p := &post{
		in:      in,
		batch:   intake.NewBatch(int(in.MaxLineBytes), in.MaxDepth),
		settled: make(chan struct{}, 1),
		timer:   time.NewTimer(time.Hour),
	}
	p.timer.Stop()
	p.done = p.settle
	return p
}

func (in *Input) newPost() *post {
	p := in.posts.Get().(*post)
	p.users.Store(1)
	return p
}

// draw takes n bytes of the budget for this post. A post that alone needs more than the whole budget will never fit.
func (p *post) draw(n int) *refusal {
	if p.drawn+int64(n) > p.in.budget.limit {
		return &refuseOverBudget
	}
	if !p.in.budget.draw(int64(n)) {
		return &refuseMemory
	}
	p.drawn += int64(n)
	return nil
}

func (p *post) giveBack(n int) {
	p.in.budget.giveBack(int64(n))
	p.drawn -= int64(n)
}

// settle is the done of the post's Put.
func (p *post) settle(err error) {
	p.in.unsettled.remove(p)
	p.lost = err
	p.settled <- struct{}{}
	p.release()
}

// release ends one use of the post; the last one returns its memory.
func (p *post) release() {
	if p.users.Add(-1) > 0 {
		return
	}
	p.timer.Stop()
	select {
	case <-p.settled: // nobody waited for it
	default:
	}
	p.batch.Release()
	if p.body != nil {
		putBuffer(p.body)
		p.body = nil
	}
	p.giveBack(int(p.drawn))
	p.accepted, p.answer, p.lost = 0, p.answer[:0], nil
	p.in.posts.Put(p)
}

// unsettledPosts lists the posts that the pipeline holds, oldest first.
type unsettledPosts struct {
	mu    sync.Mutex
	first *post
	last  *post
}

func (u *unsettledPosts) add(p *post) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p.since = time.Now()
	p.prev = u.last
	if u.last == nil {
		u.first = p
	} else {
		u.last.next = p
	}
	u.last = p
}

func (u *unsettledPosts) remove(p *post) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p.prev == nil {
		u.first = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		u.last = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
}

// oldest returns how long the oldest post has been waiting, 0 if there is none.
func (u *unsettledPosts) oldest() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.first == nil {
		return 0
	}
	return time.Since(u.first.since)
}
