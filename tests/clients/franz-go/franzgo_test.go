// Package franzgo plays franz-go, which uses the newest version of everything, against KOHORT_TEST_BOOTSTRAP.
package franzgo

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func bootstrap(t *testing.T) string {
	b := os.Getenv("KOHORT_TEST_BOOTSTRAP")
	if b == "" {
		t.Fatal("KOHORT_TEST_BOOTSTRAP must name a server")
	}
	return b
}

func name(prefix string) string { return fmt.Sprintf("%s-%08x", prefix, rand.Uint32()) }

func client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap(t))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestProduceAndConsumeInAGroup(t *testing.T) {
	ctx := within(t, time.Minute)
	topic, group := name("franz"), name("g")
	producer := client(t, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	defer producer.Close()
	admin := kadm.NewClient(producer)
	if _, err := admin.CreateTopic(ctx, 4, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	const total = 4000
	for i := 0; i < total; i++ {
		producer.Produce(ctx, &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(i))}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	members := []*kgo.Client{}
	seen := make(chan string, total*2)
	for i := 0; i < 2; i++ {
		m := client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		members = append(members, m)
		go func() {
			for {
				fetches := m.PollFetches(ctx)
				if fetches.IsClientClosed() || ctx.Err() != nil {
					return
				}
				fetches.EachError(func(_ string, _ int32, err error) { t.Error(err) })
				fetches.EachRecord(func(r *kgo.Record) { seen <- string(r.Value) })
			}
		}()
	}
	got := map[string]bool{}
	for len(got) < total {
		select {
		case v := <-seen:
			got[v] = true
		case <-ctx.Done():
			t.Fatalf("%d of %d records came", len(got), total)
		}
	}
	for _, m := range members {
		if err := m.CommitUncommittedOffsets(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for {
		described, err := admin.DescribeGroups(ctx, group)
		if err != nil {
			t.Fatal(err)
		}
		if described[group].State == "Stable" && len(described[group].Members) == 2 {
			break
		}
	}
	for _, m := range members {
		m.Close()
	}
	lags, err := admin.Lag(ctx, group)
	if err != nil || lags[group].Lag.Total() != 0 {
		t.Fatalf("%v %+v", err, lags)
	}
	if _, err := admin.DeleteGroups(ctx, group); err != nil {
		t.Fatal(err)
	}
}

func TestCooperativeMembersComeAndGo(t *testing.T) {
	ctx := within(t, time.Minute)
	topic, group := name("coop"), name("g")
	owned := map[int]map[int32]bool{}
	changed := make(chan func(), 100)
	join := func(i int) *kgo.Client {
		owned[i] = map[int32]bool{}
		add := func(yes bool) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
				changed <- func() {
					for _, p := range ps[topic] {
						if yes {
							owned[i][p] = true
						} else {
							delete(owned[i], p)
						}
					}
				}
			}
		}
		return client(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
			kgo.OnPartitionsAssigned(add(true)), kgo.OnPartitionsRevoked(add(false)), kgo.OnPartitionsLost(add(false)))
	}
	admin := kadm.NewClient(client(t))
	if _, err := admin.CreateTopic(ctx, 6, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	settle := func(want ...int) {
		t.Helper()
		for {
			ok := true
			for i, n := range want {
				ok = ok && len(owned[i]) == n
			}
			if ok {
				return
			}
			select {
			case f := <-changed:
				f()
			case <-ctx.Done():
				t.Fatalf("wanted %v, got %v", want, owned)
			}
		}
	}
	a := join(0)
	settle(6)
	b := join(1)
	settle(3, 3)
	c := join(2)
	settle(2, 2, 2)
	b.Close()
	settle(3, 0, 3)
	a.Close()
	c.Close()
}
